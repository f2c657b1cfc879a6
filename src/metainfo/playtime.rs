//! The duration of media as the SwarmPlayer writes it into a torrent and on its command line: `4:15`,
//! `1:00:00`, or plain seconds.
//!
//! The original added up `h * 3600 + m * 60 + s` and knew no fractions, because bencode has none. We round to
//! whole seconds as well.

use std::time::Duration;

use super::text::escape;

/// Longest duration that is believed: 1,000 hours.
pub const MAX_PLAYTIME: Duration = Duration::from_secs(1_000 * 3600);

/// Why a text is no playtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaytimeError {
    /// Not of the form `[[hh:]mm:]ss`.
    #[error("'{}' is not a duration like 4:15 or 1:00:00", escape(.0))]
    Form(String),
    /// Nothing at all, or more than [`MAX_PLAYTIME`].
    #[error("a duration of {0} seconds is not between 1 and {max}", max = MAX_PLAYTIME.as_secs())]
    Range(u64),
}

/// Reads `[[hh:]mm:]ss`. Behind a colon a number is below 60; the first may be larger (`90:00`).
///
/// # Errors
/// When the text has another form, or the duration is zero or longer than [`MAX_PLAYTIME`].
pub fn parse(text: &str) -> Result<Duration, PlaytimeError> {
    let text = text.trim();
    let form = || PlaytimeError::Form(text.to_owned());
    let mut seconds: u64 = 0;
    for (place, part) in text.split(':').enumerate() {
        let number = number(part).filter(|n| place == 0 || *n < 60).ok_or_else(form)?;
        if place > 2 {
            return Err(form());
        }
        seconds = seconds * 60 + number;
    }
    from_seconds(seconds)
}

/// A duration of whole seconds, if it is one to be believed.
///
/// # Errors
/// When it is zero or longer than [`MAX_PLAYTIME`].
pub fn from_seconds(seconds: u64) -> Result<Duration, PlaytimeError> {
    let good = (1..=MAX_PLAYTIME.as_secs()).contains(&seconds);
    if good { Ok(Duration::from_secs(seconds)) } else { Err(PlaytimeError::Range(seconds)) }
}

/// Writes `mm:ss` or `h:mm:ss`, rounded to the nearest second but never to none.
pub fn format(playtime: Duration) -> String {
    let seconds = (playtime + Duration::from_millis(500)).as_secs().max(1);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

/// Digits only (no sign, no space), at most nine of them.
fn number(digits: &str) -> Option<u64> {
    let good = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if good { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, seconds) in
            [("4:15", 255), ("1:00:00", 3600), ("75", 75), ("90:00", 5400), ("00:04:05", 245), (" 0:01\n", 1)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", ":", "4:", ":15", "4:60", "1:2:3:4", "-1", "+1", "4.5", "1:-1", "4 : 15", "1:1:99"] {
            assert_eq!(parse(text), Err(PlaytimeError::Form(text.into())), "{text}");
        }
        assert_eq!(parse("0:00"), Err(PlaytimeError::Range(0)));
        assert_eq!(parse("1001:00:00"), Err(PlaytimeError::Range(1001 * 3600)));
        assert!(parse("9999999999").is_err() && parse("999999999:00:00").is_err());
    }

    #[test]
    fn writing_rounds_to_seconds() {
        assert_eq!(format(Duration::from_millis(255_499)), "4:15");
        assert_eq!(format(Duration::from_millis(59_500)), "1:00");
        assert_eq!(format(Duration::ZERO), "0:01");
        assert_eq!(format(Duration::from_secs(3600)), "1:00:00");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 1..=MAX_PLAYTIME.as_secs()) {
            let playtime = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&format(playtime)), Ok(playtime));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, close in "[0-9:. -]{0,20}") {
            for text in [text, close] {
                if let Ok(playtime) = parse(&text) {
                    prop_assert!(!playtime.is_zero() && playtime <= MAX_PLAYTIME);
                }
            }
        }
    }
}
