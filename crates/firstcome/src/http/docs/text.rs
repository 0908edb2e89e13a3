//! Text into HTML: everything is escaped; backticks, asterisks and empty lines keep their meaning.

/// Text as it may stand in an element or an attribute.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// One line of text, with `code` and **strong** parts.
pub(super) fn inline(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(place, part)| if place % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { strong(part) }).collect()
}

/// Paragraphs, divided by empty lines.
pub(super) fn paragraphs(text: &str) -> String {
    text.split("\n\n").map(|paragraph| format!("<p>{}</p>\n", inline(paragraph))).collect()
}

/// A block of program text or JSON.
pub(super) fn block(text: &str) -> String {
    format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escaped(text.trim_end()))
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

fn strong(text: &str) -> String {
    let parts = text.split("**").enumerate();
    parts.map(|(place, part)| if place % 2 == 1 { format!("<strong>{}</strong>", escaped(part)) } else { escaped(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped_everywhere() {
        assert_eq!(inline("a <b> `<c>` **<d>** & \"'"), "a &lt;b&gt; <code>&lt;c&gt;</code> <strong>&lt;d&gt;</strong> &amp; &quot;&#39;");
        assert_eq!(block("<x>\n"), "<pre tabindex=\"0\"><code>&lt;x&gt;</code></pre>\n");
        assert_eq!(paragraphs("a\n\nb"), "<p>a</p>\n<p>b</p>\n");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([1, 999, 1_000, 1_000_000_000].map(number), ["1", "999", "1,000", "1,000,000,000"]);
    }
}
