//! Names of checkpoint tensors with places for numbers.
//! Owns matching them; must not know any family.

/// The numbers in a stored name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) layer: Option<u32>,
    pub(crate) expert: Option<u32>,
    /// Of matrices that stand once in the model, stacked.
    pub(crate) part: Option<u32>,
}

/// The layer of a tensor whose name begins like `pattern`, which ends in `{layer}.`.
pub(super) fn layer_of(pattern: &str, name: &str) -> Option<u32> {
    let rest = name.strip_prefix(pattern.strip_suffix("{layer}.")?)?;
    rest[..rest.find('.')?].parse().ok()
}

/// Matches `name` against a pattern with places for numbers.
pub(crate) fn match_name(pattern: &str, name: &str) -> Option<Numbers> {
    let mut numbers = Numbers::default();
    let mut rest = name;
    let mut pattern = pattern;
    while let Some(open) = pattern.find('{') {
        rest = rest.strip_prefix(&pattern[..open])?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let close = open + pattern[open..].find('}')?;
        match &pattern[open + 1..close] {
            "layer" => numbers.layer = Some(number),
            "expert" => numbers.expert = Some(number),
            "part" => numbers.part = Some(number),
            _ => return None,
        }
        pattern = &pattern[close + 1..];
    }
    (rest == pattern).then_some(numbers)
}

/// `pattern` with numbers in their places.
pub(crate) fn place_numbers(pattern: &str, numbers: &Numbers) -> String {
    let place = |name: String, (word, number): (&str, Option<u32>)| match number {
        Some(number) => name.replace(word, &number.to_string()),
        None => name,
    };
    let Numbers { layer, expert, part } = *numbers;
    [("{layer}", layer), ("{expert}", expert), ("{part}", part)].into_iter().fold(pattern.to_string(), place)
}
