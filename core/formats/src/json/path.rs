//! Which field a beginning of a JSON document ends in.
//! Knows JSON's marks; must not know what the document is for.

/// A value that is open, and where in it the reading stands.
enum Open {
    /// An object, with its current key; `None` before the first and behind a comma.
    Object(Option<String>),
    /// An array, with the current element.
    Array(usize),
}

/// The field of the last mark or value of `json`, the read part of a document: a value that was read to its end is its own
/// field, a key's is its value, and behind an opening bracket or a comma it is the next element.
pub(super) fn at_end(json: &[u8]) -> String {
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' => open.push(Open::Object(None)),
            b'[' => open.push(Open::Array(0)),
            b'}' | b']' => _ = open.pop(),
            b',' => match open.last_mut() {
                Some(Open::Object(key)) => *key = None,
                Some(Open::Array(element)) => *element += 1,
                None => {}
            },
            b'"' => {
                let start = at - 1;
                at = end_of_text(json, at);
                if let Some(Open::Object(key @ None)) = open.last_mut() {
                    // A key that was not read to its end names nothing yet.
                    *key = serde_json::from_slice(&json[start..at]).ok();
                }
            }
            _ => {}
        }
    }
    written(&open)
}

/// Behind the closing quote of the text that begins at `at`, or the end.
fn end_of_text(json: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

fn written(open: &[Open]) -> String {
    let mut path = String::new();
    for value in open {
        match value {
            Open::Object(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Open::Object(None) => {}
            Open::Array(element) => path.push_str(&format!("[{element}]")),
        }
    }
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_of_the_last_mark_or_value() {
        for (json, field) in [
            ("", "."),
            ("  ", "."),
            ("{", "."),
            (r#"{"a"#, "."),
            (r#"{"a""#, "a"),
            (r#"{"a":"#, "a"),
            (r#"{"a": "x]}, \" y", "b": [1, 2"#, "b[1]"),
            (r#"{"a": [ "#, "a[0]"),
            (r#"{"a": [{"b": 1}, {"c": "#, "a[1].c"),
            (r#"{"a": [{"b": 1}, {"c": {}}"#, "a[1]"),
            (r#"{"a": [{"b": 1}, {"c": {"d": 0}"#, "a[1].c"),
            (r#"{"a\u0062": 1"#, "ab"),
            (r#"{"a": 1}"#, "."),
            (r#"[[], [0, "#, "[1][1]"),
            ("]]}", "."),
            (r#"{"b": {"a\"#, "b"),
        ] {
            assert_eq!(at_end(json.as_bytes()), field, "{json}");
        }
    }
}
