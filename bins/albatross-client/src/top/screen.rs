//! The terminal: taken over, and given back as it was, however the program ends.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::panic;
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Octets that are gathered before they are written: a screen, so that it changes at once.
const SCREENFUL: usize = 64 * 1024;

/// The terminal while it is ours.
pub(crate) struct Screen {
    pub(crate) terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

/// Whether there is a terminal to show something on and to read keys from.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Those of the terminal, which is as before then.
    pub(crate) fn take() -> io::Result<Self> {
        restore_on_panic();
        enable_raw_mode()?;
        let entered = execute!(io::stdout(), EnterAlternateScreen, Hide);
        let out = BufWriter::with_capacity(SCREENFUL, io::stdout());
        let taken = entered.and_then(|()| Terminal::new(CrosstermBackend::new(out)));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// The terminal as it was. Where it is gone there is nothing to be done about it.
fn give_back() {
    _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    _ = io::stdout().flush();
    _ = disable_raw_mode();
}

/// A panic is read on a terminal that is as before; in any thread it is the end, as the screen is gone then.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
            std::process::abort();
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;
    use std::{env, fs, thread};

    use super::*;

    /// Tells this test that it is the program on the terminal.
    const PANICS: &str = "ALBATROSS_TEST_PANICS";

    #[test]
    fn a_panic_is_read_on_a_terminal_that_is_as_before() {
        if env::var_os(PANICS).is_some() {
            let _screen = Screen::take().unwrap();
            _ = thread::spawn(|| panic!("a mistake in a thread")).join();
            unreachable!("it is the end");
        }
        let directory = tempfile::tempdir().unwrap();
        let tmux = |words: &[&str]| {
            let mut command = Command::new("tmux");
            command.arg("-S").arg(directory.path().join("tmux")).args(words).current_dir(directory.path());
            command.env_remove("TMUX").output()
        };
        if tmux(&["-V"]).is_err() {
            eprintln!("skipped: tmux is not installed");
            return;
        }
        let this = env::current_exe().unwrap();
        let name = "top::screen::tests::a_panic_is_read_on_a_terminal_that_is_as_before";
        let script = format!(
            "stty -a > before; {PANICS}=1 {} --exact {name} --nocapture; stty -a > new; mv new after; sleep 1000",
            this.display()
        );
        tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &script]).unwrap();
        let begin = Instant::now();
        let after = loop {
            if let Ok(after) = fs::read_to_string(directory.path().join("after")) {
                break after;
            }
            assert!(begin.elapsed().as_secs() < 60, "{:?}", tmux(&["capture-pane", "-p"]));
            thread::sleep(std::time::Duration::from_millis(20));
        };
        let screen = String::from_utf8(tmux(&["capture-pane", "-p"]).unwrap().stdout).unwrap();
        let modes = tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).unwrap().stdout;
        tmux(&["kill-server"]).unwrap();
        assert_eq!(after, fs::read_to_string(directory.path().join("before")).unwrap());
        assert!(screen.contains("a mistake in a thread"), "{screen}");
        assert_eq!(String::from_utf8(modes).unwrap(), "0 1\n");
    }
}
