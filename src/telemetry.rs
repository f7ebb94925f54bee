//! Logs, on standard error, in the mode that the operator chose; and [`metrics`].
//!
//! What a client, a peer or an engine said can be in a field or a message. It must not be able to act on a terminal,
//! or to look like a line of its own, so control characters are written as escapes; in JSON those that JSON itself
//! escapes, since who reads that is a program.

pub mod metrics;

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::field::Field;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FormatFields, Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{Log, LogMode};

/// Sends all events of this process to standard error from now on. Called again it changes nothing.
pub fn start(log: &Log) {
    // PRETTY without a terminal has no colours: a log collector would keep the escape sequences.
    let colours = match log.mode {
        LogMode::Pretty => std::io::stderr().is_terminal(),
        LogMode::NoColor | LogMode::Json => false,
    };
    let _ = tracing::subscriber::set_global_default(subscriber(log, colours, std::io::stderr));
}

fn subscriber<W>(log: &Log, colours: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter(log.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).with_target(false);
    match log.mode {
        LogMode::Pretty | LogMode::NoColor => Box::new(registry.with(layer.fmt_fields(escaped_fields()))),
        LogMode::Json => Box::new(registry.with(layer.json().flatten_event(true))),
    }
}

/// Ours as chosen; of the libraries only warnings, because their details can hold what a request carried.
fn filter(level: Level) -> Targets {
    let ours = LevelFilter::from_level(level);
    Targets::new().with_target("swarmgate", ours).with_default(ours.min(LevelFilter::WARN))
}

fn escaped_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    use tracing_subscriber::field::MakeExt;
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escaped(writer), "{value:?}")
    })
    .delimited(" ")
}

/// Passes text on with its control characters as escapes.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            // Beside the control characters: line ends of Unicode, and marks that turn the direction of writing.
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(mode: LogMode, level: Level, colours: bool, events: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let made = buffer.clone();
        let subscriber = subscriber(&Log { level, mode }, colours, move || made.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = buffer.0.lock().expect("nobody panicked").clone();
        String::from_utf8(bytes).expect("it is text")
    }

    #[test]
    fn what_strangers_say_stays_on_its_line() {
        let name = "web\u{1b}[31m\r\n2026 ERROR all is lost\u{9b}0m\u{202e}";
        for mode in [LogMode::NoColor, LogMode::Json] {
            let text = written(mode, Level::INFO, false, || {
                tracing::info!(node = %name, host = name, "hello {name}");
            });
            assert_eq!(text.lines().count(), 1, "{mode:?}: {text:?}");
            assert!(!text.contains('\u{1b}'), "{mode:?}: {text:?}");
            assert!(text.contains("node") && text.contains("host") && text.contains("hello web"), "{text:?}");
        }
    }

    #[test]
    fn colours_are_only_our_own() {
        let hello = || tracing::info!(node = "a\u{1b}[31mb", "hello");
        assert!(!written(LogMode::NoColor, Level::INFO, false, hello).contains('\u{1b}'));
        let coloured = written(LogMode::Pretty, Level::INFO, true, hello);
        assert!(coloured.contains('\u{1b}') && !coloured.contains("\u{1b}[31mb"), "{coloured:?}");
    }

    #[test]
    fn a_line_reads_well() {
        let text = written(LogMode::NoColor, Level::INFO, false, || {
            tracing::info!(node = %"n1", count = 3, "member joined");
        });
        assert!(text.ends_with(" INFO member joined node=n1 count=3\n"), "{text:?}");
    }

    #[test]
    fn json_is_json() {
        let text = written(LogMode::Json, Level::INFO, false, || tracing::warn!(node = "n1", "gone"));
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            (&value["message"], &value["node"], &value["level"]),
            (&"gone".into(), &"n1".into(), &"WARN".into())
        );
    }

    #[test]
    fn libraries_do_not_chatter() {
        let text = written(LogMode::NoColor, Level::TRACE, false, || {
            tracing::trace!("ours");
            tracing::info!(target: "hickory_resolver", "theirs");
            tracing::warn!(target: "hickory_resolver", "grave");
        });
        assert!(text.contains("ours") && text.contains("grave") && !text.contains("theirs"), "{text:?}");
        let text = written(LogMode::NoColor, Level::ERROR, false, || tracing::warn!("ours"));
        assert_eq!(text, "");
    }
}
