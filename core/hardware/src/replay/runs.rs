//! Lines whose paths differ in one number, joined into one line where their values are equal or follow from it.
//! Knows paths and numbers; must not know what they name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Folders whose number repeats: `cpu12`, `node3`.
const REPEATED: [&str; 3] = ["/cpu", "/node", "/policy"];
/// Ways in which a value follows from the number, beside being equal and adding to it.
const DIVISORS: [u32; 7] = [2, 4, 8, 16, 32, 64, 128];

/// Mark, path and value of every line, as text.
pub(super) fn joined(lines: &[(&str, &str, String)]) -> String {
    let mut text = String::new();
    // Mark, path before the number, path behind it, value by number.
    let mut families: BTreeMap<(&str, &str, &str), BTreeMap<u32, &str>> = BTreeMap::new();
    for (mark, path, value) in lines {
        match split(path) {
            Some((before, number, after)) => {
                families.entry((mark, before, after)).or_default().insert(number, value);
            }
            None => _ = writeln!(text, "{mark} {path} {value}"),
        }
    }
    for ((mark, before, after), values) in families {
        for (numbers, value) in rules(&values) {
            match numbers.as_slice() {
                [one] => _ = writeln!(text, "{mark} {before}{one}{after} {}", values[one]),
                many => _ = writeln!(text, "{mark} {before}{{{}}}{after} {value}", list(many)),
            }
        }
    }
    text
}

fn split(path: &str) -> Option<(&str, u32, &str)> {
    let places = REPEATED.iter().flat_map(|name| path.match_indices(name).map(|(at, _)| at + name.len()));
    places.into_iter().find_map(|at| {
        let digits = path[at..].bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 =
            path[at..at + digits].parse().ok().filter(|number| *number <= u32::from(u16::MAX))?;
        (number.to_string().len() == digits).then(|| (&path[..at], number, &path[at + digits..]))
    })
}

/// The shortest of the ways to say all values: one rule for all, else equal values, else equal distances of every number
/// in them.
fn rules(values: &BTreeMap<u32, &str>) -> Vec<(Vec<u32>, String)> {
    let all: Vec<u32> = values.keys().copied().collect();
    let mut equal: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let mut distant: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (number, value) in values {
        equal.entry(value).or_default().push(*number);
        distant.entry(distances(value, *number)).or_default().push(*number);
    }
    for divisor in DIVISORS {
        for (sign, of) in [("/", (|n, d| n / d) as fn(u32, u32) -> u32), ("%", |n, d| n % d)] {
            let follows = values.iter().all(|(n, value)| *value == of(*n, divisor).to_string());
            if follows && distant.len().min(equal.len()) > 1 {
                return vec![(all, format!("{{{sign}{divisor}}}"))];
            }
        }
    }
    if distant.len() < equal.len() {
        return distant.into_iter().map(|(value, numbers)| (numbers, value)).collect();
    }
    equal.into_iter().map(|(value, numbers)| (numbers, value.to_string())).collect()
}

/// A value with every number in it said by its distance: `0,48` at 0 is `{},{+48}`. Words with digits stay as they are.
fn distances(value: &str, number: u32) -> String {
    let said = |word: &str| {
        let figure = word.parse::<u32>().ok().filter(|figure| figure.to_string() == word)?;
        Some(match i64::from(figure) - i64::from(number) {
            0 => "{}".to_string(),
            distance @ 1.. => format!("{{+{distance}}}"),
            distance => format!("{{-{}}}", -distance),
        })
    };
    value
        .split_inclusive([',', '-'])
        .map(|part| {
            let word = part.trim_end_matches([',', '-']);
            said(word).map_or_else(|| part.to_string(), |said| said + &part[word.len()..])
        })
        .collect()
}

/// `0-3,8`.
fn list(numbers: &[u32]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < numbers.len() {
        let mut last = at;
        while last + 1 < numbers.len() && numbers[last + 1] == numbers[last] + 1 {
            last += 1;
        }
        let comma = if at == 0 { "" } else { "," };
        _ = match last == at {
            true => write!(text, "{comma}{}", numbers[at]),
            false => write!(text, "{comma}{}-{}", numbers[at], numbers[last]),
        };
        at = last + 1;
    }
    text
}
