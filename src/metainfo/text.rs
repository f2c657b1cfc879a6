//! Strangers' text made fit for terminals, logs, error messages and tags.
//!
//! Names in torrents, client names and trackers' failures are written by people we do not know: they may hold
//! terminal escapes, line breaks, or marks that turn the direction of writing around so that `gpj.exe` reads
//! as `exe.jpg`. Everything that prints such a text puts it through [`escape`]; nothing else does this job.

/// Most characters of a text that are shown; the rest becomes one `…`.
pub const MAX_SHOWN: usize = 256;

/// The text with whatever is not harmless in print replaced by its escape (`\n`, `\u{1b}`), and not longer
/// than [`MAX_SHOWN`] characters and an ellipsis.
///
/// Letters, accents, spaces, emoji and their joiners pass as they are. So does the backslash: the result is
/// for reading, not for reading back.
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_SHOWN));
    let mut room = MAX_SHOWN;
    for c in text.chars() {
        let cost = if is_harmless(c) { 1 } else { c.escape_default().count() };
        if cost > room {
            shown.push('…');
            break;
        }
        room -= cost;
        if is_harmless(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    shown
}

/// Whether a character does nothing but show itself: not a control character, not a line or paragraph
/// separator, not a mark that changes the direction of its neighbours, and not an invisible one.
pub const fn is_harmless(c: char) -> bool {
    !matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'       // C0, DEL, C1
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' // soft hyphen, joiners and marks without a width
        | '\u{200b}' | '\u{200e}' | '\u{200f}'  // zero width space, direction marks
        | '\u{2028}'..='\u{202e}'               // line and paragraph separators, embeddings, overrides
        | '\u{2060}'..='\u{206f}'               // word joiner, isolates, invisible operators
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'  // byte order mark, interlinear annotation
        | '\u{e0000}'..='\u{e007f}'             // tags
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_passes() {
        for text in
            ["Ünïcödé — 日本語.mkv", "a b.c", "👩\u{200d}👧 family", "עברית.avi", "C:\\x", "فیلم\u{200c}ها"]
        {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn what_harms_is_shown_as_its_escape() {
        assert_eq!(escape("a\x1b[2Jb\r\n\t\0"), r"a\u{1b}[2Jb\r\n\t\u{0}");
        assert_eq!(escape("film\u{202e}gpj.exe"), r"film\u{202e}gpj.exe");
        assert_eq!(escape("\u{9b}31m\u{2066}\u{feff}\u{e0041}"), r"\u{9b}31m\u{2066}\u{feff}\u{e0041}");
    }

    #[test]
    fn long_text_is_cut() {
        let long = escape(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), MAX_SHOWN + 1);
        assert!(long.ends_with('…'));
        assert_eq!(escape(&"ä".repeat(MAX_SHOWN)).chars().count(), MAX_SHOWN);
        assert!(escape(&"\x1b".repeat(1000)).chars().count() <= MAX_SHOWN + 1);
    }

    proptest! {
        #[test]
        fn the_result_is_always_harmless_and_short(text: String, more in "[\\x00-\\x{10ffff}]{0,400}") {
            for shown in [escape(&text), escape(&more)] {
                prop_assert!(shown.chars().all(is_harmless));
                prop_assert!(shown.chars().count() <= MAX_SHOWN + 1);
                prop_assert_eq!(escape(&shown.chars().take(MAX_SHOWN).collect::<String>()).chars().count(), shown.chars().count().min(MAX_SHOWN));
            }
        }
    }
}
