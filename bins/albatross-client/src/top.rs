//! `top`: what runs and what it uses, on a terminal, as it changes.
//!
//! | module | what it is for |
//! |---|---|
//! | [`model`], [`rates`] | what is known, and what the user looks at |
//! | [`frame`] | how that is laid out |
//! | [`ask`] | threads that ask the daemons, each over connections of its own |
//! | [`screen`] | the terminal, taken over and given back |
//!
//! What runs and policies are asked for again and again; statistics and the console of the selected unikernel are
//! subscribed to. Whoever does not answer is asked again, what is wrong stands on the screen meanwhile.

mod ask;
mod frame;
mod model;
mod rates;
mod screen;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use albatross_driver::clock::wall_clock_second;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use crate::command::Request;
use crate::error::Error;
use crate::exit::Exit;
use crate::options::{Destination, Options};
use crate::print::Printer;

use ask::{Asker, Happened, Unanswered};
use frame::Around;
use model::Wish;
use screen::Screen;

/// Time between two frames, whatever comes: a console may have a million lines in a second.
const FRAME: Duration = Duration::from_millis(100);

/// The screen shows the time, and for how long everything runs.
const CLOCK: Duration = Duration::from_secs(1);

/// Shows what runs until the user has seen enough.
///
/// # Errors
/// Where there is no terminal; those of the first questions, where it is of no use to ask them again.
pub(crate) fn run(
    options: &'static Options,
    destination: &Destination,
    request: Request,
    printer: &Printer,
) -> Result<Exit, Error> {
    if !screen::is_there() {
        return Err(Error::NoTerminal);
    }
    let (asker, happened) =
        Asker::new(options, destination.clone(), request.name).map_err(Error::Terminal)?;
    match asker.first_round() {
        Ok(()) => {}
        Err(Unanswered::Refused(name, text)) => {
            printer.failure(&name, &text)?;
            return Ok(Exit::of_failure(&text));
        }
        Err(Unanswered::Failed(error)) => return Err(error),
    }
    asker.start().map_err(Error::Terminal)?;
    let mut screen = Screen::take().map_err(Error::Terminal)?;
    show(&asker, &happened, &mut screen).map(|()| Exit::Success).map_err(Error::Terminal)
}

/// Draws what is known as it changes, and does what the user wants, until that is the end.
fn show(asker: &Asker, happened: &Receiver<Happened>, screen: &mut Screen) -> std::io::Result<()> {
    let destination = asker.destination();
    let mut drawn = Instant::now();
    let mut is_due = true;
    loop {
        if is_due {
            drawn = Instant::now();
            let around = Around { destination: &destination, now: wall_clock_second() };
            asker.seen(|model| {
                screen.terminal.draw(|frame| frame::draw(model, &around, frame.buffer_mut())).map(drop)
            })?;
        }
        let patience = if asker.has_news() { FRAME } else { CLOCK };
        let left = patience.saturating_sub(drawn.elapsed());
        is_due = match happened.recv_timeout(left) {
            Ok(Happened::News) => false,
            Ok(Happened::Input(Event::Key(key))) => match meaning(key) {
                Some(Meaning::Quit) => return Ok(()),
                Some(Meaning::Wish(wish)) => {
                    asker.update(|model| model.wish(wish));
                    true
                }
                None => false,
            },
            Ok(Happened::Input(Event::Resize(..))) => true,
            Ok(Happened::Input(_)) => false,
            Ok(Happened::Lost(error)) => return Err(error),
            Ok(Happened::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => true,
        };
    }
}

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Quit,
    Wish(Wish),
}

fn meaning(key: KeyEvent) -> Option<Meaning> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c')).then_some(Meaning::Quit);
    }
    let wish = match key.code {
        KeyCode::Char('q') => return Some(Meaning::Quit),
        KeyCode::Up | KeyCode::Char('k') => Wish::Select(-1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Select(1),
        KeyCode::Home | KeyCode::Char('g') => Wish::SelectEnd(false),
        KeyCode::End | KeyCode::Char('G') => Wish::SelectEnd(true),
        KeyCode::PageUp => Wish::Scroll(1),
        KeyCode::PageDown => Wish::Scroll(-1),
        KeyCode::Char('s') => Wish::Reorder,
        KeyCode::Char('p') => Wish::TogglePolicies,
        _ => return None,
    };
    Some(Meaning::Wish(wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let plain = |code| meaning(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Meaning::Quit));
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Meaning::Quit));
        assert_eq!(meaning(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)), None);
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Down), Some(Meaning::Wish(Wish::Select(1))));
    }
}
