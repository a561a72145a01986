use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::model::tests::{info, name, policy, running, statistics, status, time};
use super::super::model::{Link, MAX_LINE, Wish};
use super::*;

/// What a screen of this size shows.
fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let around = Around { destination: "/run/albatross", now: time(5000) };
    terminal.draw(|frame| draw(model, &around, frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width).max(1));
    let text =
        |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    rows.map(|row| text(row).trim_end().to_owned()).collect()
}

fn busy() -> Model {
    let mut model = Model::default();
    let mut round = running(&["alice:web", "alice:db", "bob:mail"]);
    let statuses = round.statuses.as_mut().unwrap();
    statuses[1].1 = status(State::Waiting(time(5001)), 17);
    statuses.push((name("bob:broken"), status(State::Failed("no".into()), 0)));
    round.running.remove(1);
    round.running[1].1 = info(512);
    round.policies =
        Some(vec![(name("alice:"), policy(2, 100, Some(20))), (name("bob:"), policy(10, 1024, None))]);
    model.learn(round);
    let begin = Instant::now();
    for (at, factor) in [(0, 0), (1, 1)] {
        let sample = statistics(factor * 423, 12_900_000, factor * 2_000_000, factor * 999);
        model.sample(begin + Duration::from_secs(at), &name("alice:web"), &sample);
    }
    model.wish(Wish::SelectEnd(true));
    model.begin_console(&name("bob:mail"));
    model.console_line(&name("bob:mail"), time(3661), b"listening on \x1b[31mport 25\x07");
    model
}

#[test]
fn a_screen_of_the_usual_size_shows_everything() {
    let shown = screen(&mut busy(), 80, 24);
    let expected = [
        "/run/albatross  4 unikernels, 2 running, 1 waiting, 1 failed            01:23:20",
        "UNIKERNEL                 STATE   CPU%      MEMORY RESTARTS RECV/s SENT/s    FOR",
        "alice:db                waiting      -         -/-       17      -      -  1h06m",
        "alice:web               running   42.3     12M/32M        0   1.9M    999  1h06m",
        "bob:broken               failed      -         -/-        0      -      -  1h06m",
        "bob:mail                running      -      -/512M        0      -      -  1h06m",
    ];
    assert_eq!(shown[..expected.len()], expected, "{shown:#?}");
    let policies = [
        "POLICY         UNIKERNELS            MEMORY MB             BLOCK MB",
        "alice:         [######] 2/2          [#.....] 32/100       [......] 0/20",
        "bob:           [#.....] 1/10         [###...] 512/1024     [......] 0/0",
        "CONSOLE of bob:mail",
        "01:01:01 listening on \\x1b[31mport 25\\x07",
    ];
    let at = shown.iter().position(|line| line.starts_with("POLICY")).unwrap();
    assert_eq!(shown[at..at + policies.len()], policies, "{shown:#?}");
    assert_eq!(shown[23], "q quit  up/down select  pgup/pgdn console  s sort (name)  p policies");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut model = busy();
    model.trouble(Link::Daemon, Some("gone".to_owned()));
    for width in [1, 2, 5, 11, 12, 30, 79, 80, 81, 200, 1000] {
        for height in [1, 2, 3, 4, 5, 6, 7, 8, 12, 24, 25, 100] {
            let shown = screen(&mut model, width, height);
            assert_eq!(shown.len(), usize::from(height));
            model.wish(Wish::Scroll(1));
        }
    }
    let mut empty = Model::default();
    assert_eq!(screen(&mut empty, 80, 24)[0].split("  ").nth(1), Some("0 unikernels, 0 running"));
}

#[test]
fn every_row_is_used_once() {
    for height in 5..60 {
        for (count, policies) in [(0, 0), (1, 1), (3, 40), (200, 0), (200, 3), (200, 200)] {
            let names: Vec<_> = (0..count).map(|number| format!("u{number}")).collect();
            let mut round = running(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let named = (0..policies).map(|number| (name(&format!("p{number}:")), policy(1, 1, None)));
            round.policies = Some(named.collect());
            let mut model = Model::default();
            model.learn(round);
            let heights = Heights::of(&model, height);
            let title = u16::from(heights.policies > 0);
            assert_eq!(4 + title + heights.unikernels + heights.policies + heights.console, height);
            assert!(heights.unikernels >= 1 && heights.policies <= height / 4, "{heights:?}");
            assert!(height < 16 || heights.console >= height / 4, "{height}: {heights:?}");
        }
    }
}

#[test]
fn the_selected_one_is_on_the_screen() {
    let names: Vec<_> = (100..300).map(|number| format!("u{number}")).collect();
    let mut model = Model::default();
    model.learn(running(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    for (wish, label) in [(0, "u100 "), (100, "u200 "), (100, "u299 ")] {
        model.wish(Wish::Select(wish));
        let shown = screen(&mut model, 80, 24);
        assert!(shown.iter().any(|line| line.starts_with(label)), "{label}: {shown:#?}");
    }
}

#[test]
fn what_is_wrong_is_shown_and_harmless() {
    let mut model = busy();
    model.trouble(Link::Console, Some("console: gone".to_owned()));
    model.trouble(Link::Daemon, Some("cannot connect\x1b[2J".to_owned()));
    let shown = screen(&mut model, 80, 24);
    assert_eq!(shown[22], "cannot connect\\x1b[2J | console: gone");
    assert!(shown[23].starts_with("q quit"));
    model.learn(running(&["bob:mail"]));
    assert_eq!(screen(&mut model, 80, 24)[22], "console: gone");
}

#[test]
fn no_octet_of_a_console_reaches_the_terminal_raw() {
    let mut model = Model::default();
    model.learn(running(&["x"]));
    model.set_page(100);
    for octet in 0..=u8::MAX {
        model.console_line(&name("x"), time(0), &[b'<', octet, b'>']);
    }
    for text in ["\u{9b}31m", "\u{202e}turned", "\u{2028}", "a\u{300}\u{300}", "\u{1f600}wide", "\u{200b}"] {
        model.console_line(&name("x"), time(0), text.as_bytes());
    }
    model.console_line(&name("x"), time(0), &[0xff; MAX_LINE * 2]);
    for _ in 0..8 {
        let shown = screen(&mut model, 60, 60).concat();
        assert!(!shown.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{shown:?}");
        model.wish(Wish::Scroll(1));
    }
}

#[test]
fn policies_can_be_hidden_and_those_of_the_selected_one_come_first() {
    let mut model = Model::default();
    let mut round = running(&["p3:x", "p39:y"]);
    let named = (0..40).map(|number| (name(&format!("p{number}:")), policy(1, 1, None)));
    round.policies = Some(named.collect());
    model.learn(round);
    model.wish(Wish::SelectEnd(true));
    let shown = screen(&mut model, 80, 24);
    assert!(shown.iter().any(|line| line.starts_with("POLICY (5 of 40)")), "{shown:#?}");
    assert!(
        shown.iter().any(|line| line.starts_with("p39: ") && line.contains("[######] 1/1")),
        "{shown:#?}"
    );
    model.wish(Wish::TogglePolicies);
    assert!(!screen(&mut model, 80, 24).iter().any(|line| line.starts_with("POLICY")));
}

#[test]
fn figures_are_short() {
    for (octets, text) in [
        (-1, "0"),
        (0, "0"),
        (999, "999"),
        (1000, "0.9K"),
        (1024, "1.0K"),
        (10_240, "10K"),
        (999 * 1024, "999K"),
        (1000 * 1024, "0.9M"),
        (512 * 1024 * 1024, "512M"),
        (i64::MAX, "7.9E"),
    ] {
        assert_eq!(short(octets), text);
    }
    for (seconds, text) in [
        (-5, "0s"),
        (59, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86_399, "23h59m"),
        (86_400, "1d00h"),
        (8_640_000, "100d"),
    ] {
        assert_eq!(duration(seconds), text);
    }
    for (used, allowed, bar) in [
        (0, 10, "...."),
        (1, 1000, "#..."),
        (999, 1000, "###."),
        (1000, 1000, "####"),
        (7, 0, "####"),
        (9, -1, "#..."),
    ] {
        assert_eq!(filled(used, allowed, 4), bar, "{used} of {allowed}");
    }
    for (number, text) in
        [(-1, "0"), (99_999, "99999"), (100_000, "100k"), (9_999_999, "9999k"), (i64::MAX, "9223P")]
    {
        assert_eq!(counted(number), text);
    }
    assert_eq!(end_of("abcdef", 4), "~def");
    assert_eq!(end_of("abcd", 4), "abcd");
}
