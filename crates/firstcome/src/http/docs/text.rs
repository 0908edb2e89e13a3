//! Text into HTML: everything is escaped; backticks, asterisks and empty lines keep their meaning.

use maud::{Markup, html};

/// One line of text, with `code` and **strong** parts.
pub(super) fn inline(text: &str) -> Markup {
    html! { @for (place, part) in text.split('`').enumerate() { @if place % 2 == 1 { code { (part) } } @else { (strong(part)) } } }
}

/// Paragraphs, divided by empty lines.
pub(super) fn paragraphs(text: &str) -> Markup {
    html! { @for paragraph in text.split("\n\n") { p { (inline(paragraph)) } } }
}

/// A block of program text or JSON.
pub(super) fn block(text: &str) -> Markup {
    html! { pre tabindex="0" { code { (text.trim_end()) } } }
}

/// Several parts in a row, with a word between each two.
pub(super) fn joined(parts: impl Iterator<Item = Markup>, between: &str) -> Markup {
    html! { @for (place, part) in parts.enumerate() { @if place != 0 { (between) } (part) } }
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place != 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn strong(text: &str) -> Markup {
    html! { @for (place, part) in text.split("**").enumerate() { @if place % 2 == 1 { strong { (part) } } @else { (part) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped_everywhere() {
        let html = "a &lt;b&gt; <code>&lt;c&gt;</code> <strong>&lt;d&gt;</strong> &amp; &quot;";
        assert_eq!(inline("a <b> `<c>` **<d>** & \"").into_string(), html);
        assert_eq!(block("<x>\n").into_string(), "<pre tabindex=\"0\"><code>&lt;x&gt;</code></pre>");
        assert_eq!(paragraphs("a\n\nb").into_string(), "<p>a</p><p>b</p>");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([1, 999, 1_000, 1_000_000_000].map(number), ["1", "999", "1,000", "1,000,000,000"]);
    }
}
