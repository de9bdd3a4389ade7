//! The answer in a written text. Knows numbers as people write them; must not know questions.

/// The number that a text ends with or that stands behind `####`, as plain digits: without thousands' commas, currency
/// and trailing zeros behind the point.
pub fn final_number(text: &str) -> Option<String> {
    let marked = text.rsplit_once("####").map(|(_, after)| after.lines().next().unwrap_or_default());
    marked.and_then(first_number).or_else(|| numbers(text).pop())
}

fn first_number(text: &str) -> Option<String> {
    numbers(text).into_iter().next()
}

fn numbers(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let digit = |at: usize| characters.get(at).is_some_and(char::is_ascii_digit);
    let mut found = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        if !digit(at) {
            at += 1;
            continue;
        }
        let negative =
            at > 0 && characters[at - 1] == '-' && !(at > 1 && characters[at - 2].is_alphanumeric());
        let mut number = String::from(if negative { "-" } else { "" });
        while digit(at) || (matches!(characters.get(at), Some(',' | '.')) && digit(at + 1)) {
            if characters[at] != ',' {
                number.push(characters[at]);
            }
            at += 1;
        }
        found.push(plain(&number));
    }
    found
}

fn plain(number: &str) -> String {
    let number = match number.split_once('.') {
        Some(_) => number.trim_end_matches('0').trim_end_matches('.'),
        None => number,
    };
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let point = if digits.starts_with('.') { "0" } else { "" };
    if digits == "0" { "0".into() } else { format!("{sign}{point}{digits}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_as_people_write_them() {
        let of = |text| final_number(text).unwrap_or_default();
        assert_eq!(of("She makes 9 * 2 = $18 every day.\n#### 18"), "18");
        assert_eq!(of("#### $1,234.50 in all, not 9"), "1234.5");
        assert_eq!(of("first 3, then -4.0"), "-4");
        assert_eq!(of("from 10-12 o'clock"), "12");
        assert_eq!(of("007 and 0.50"), "0.5");
        assert_eq!(of("It is 0."), "0");
        assert_eq!(final_number("none at all"), None);
    }
}
