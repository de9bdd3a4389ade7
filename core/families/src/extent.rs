//! Extents as data: small expressions such as `heads*head_dim` or `hidden_size/num_attention_heads`.
//! Owns their grammar and checked evaluation; must not know what a name stands for.

use serde::Deserialize;

/// Sums and differences of products and quotients of names and whole numbers, without parentheses; what is taken away
/// stands last. `a/b` must be whole, of `a//b` the whole part counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Extent {
    text: String,
    sum: Vec<Product>,
    taken: Vec<Product>,
}

type Product = Vec<(Operator, Factor)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Times,
    Over,
    /// The whole part of the quotient.
    OverDown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Factor {
    Name(String),
    Number(u64),
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure<E> {
    /// A name has none.
    Name(E),
    /// A quotient is not whole; the divisor's name or digits.
    Inexact { dividend: u64, divisor: u64 },
    /// The result does not fit 64 bits without a sign.
    Overflow,
}

impl TryFrom<String> for Extent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (plus, minus) = text.split_once('-').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let sum = plus.split('+').map(product).collect::<Option<Vec<_>>>();
        let taken = minus.map_or(Some(Vec::new()), |minus| minus.split('-').map(product).collect());
        match (sum, taken) {
            (Some(sum), Some(taken)) => Ok(Self { text, sum, taken }),
            _ => Err(format!("`{text}` is not a sum of products of names and numbers")),
        }
    }
}

fn product(text: &str) -> Option<Product> {
    let mut factors = Vec::new();
    let mut operator = Operator::Times;
    let mut rest = text;
    loop {
        let end = rest.find(['*', '/']).unwrap_or(rest.len());
        factors.push((operator, factor(rest[..end].trim())?));
        operator = match rest[end..].chars().next() {
            None => return Some(factors),
            Some('*') => Operator::Times,
            Some(_) if rest[end..].starts_with("//") => Operator::OverDown,
            Some(_) => Operator::Over,
        };
        let width = if operator == Operator::OverDown { 2 } else { 1 };
        rest = &rest[end + width..];
    }
}

fn factor(text: &str) -> Option<Factor> {
    if let Ok(number) = text.parse() {
        return Some(Factor::Number(number));
    }
    let word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
    word.then(|| Factor::Name(text.into()))
}

impl Extent {
    /// The expression as written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Every name in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.sum.iter().chain(&self.taken).flatten().filter_map(|(_, factor)| match factor {
            Factor::Name(name) => Some(name.as_str()),
            Factor::Number(_) => None,
        })
    }

    /// Its value, with `value_of` for the names.
    pub(crate) fn evaluate<E>(&self, value_of: impl Fn(&str) -> Result<u64, E>) -> Result<u64, Failure<E>> {
        let value_of_product = |product: &Product| {
            let mut value = 1u64;
            for (operator, factor) in product {
                let factor = match factor {
                    Factor::Name(name) => value_of(name).map_err(Failure::Name)?,
                    Factor::Number(number) => *number,
                };
                value = match operator {
                    Operator::Times => value.checked_mul(factor).ok_or(Failure::Overflow)?,
                    Operator::Over if factor != 0 && value.is_multiple_of(factor) => value / factor,
                    Operator::OverDown if factor != 0 => value / factor,
                    Operator::Over | Operator::OverDown => {
                        return Err(Failure::Inexact { dividend: value, divisor: factor });
                    }
                };
            }
            Ok(value)
        };
        let mut sum = 0u64;
        for product in &self.sum {
            sum = sum.checked_add(value_of_product(product)?).ok_or(Failure::Overflow)?;
        }
        for product in &self.taken {
            sum = sum.checked_sub(value_of_product(product)?).ok_or(Failure::Overflow)?;
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<u64, Failure<String>> {
        Extent::try_from(text.to_string()).expect("parses").evaluate(|name| match name {
            "a" => Ok(6),
            "b" => Ok(4),
            "huge" => Ok(u64::MAX),
            other => Err(other.to_string()),
        })
    }

    #[test]
    fn expressions_have_their_values() {
        assert_eq!(value("a"), Ok(6));
        assert_eq!(value("a*b + 2*b"), Ok(32));
        assert_eq!(value("a*b/8"), Ok(3));
        assert_eq!(value("a*b-b-2"), Ok(18));
        assert_eq!(value("b-a"), Err(Failure::Overflow));
        assert_eq!(value("a/b"), Err(Failure::Inexact { dividend: 6, divisor: 4 }));
        assert_eq!(value("a/0"), Err(Failure::Inexact { dividend: 6, divisor: 0 }));
        assert_eq!(value("huge*b"), Err(Failure::Overflow));
        assert_eq!(value("huge + b"), Err(Failure::Overflow));
        assert_eq!(value("a*c"), Err(Failure::Name("c".into())));
    }

    #[test]
    fn anything_else_does_not_parse() {
        for text in ["", "a*", "a b", "(a)", "a--b", "+a", "-1"] {
            assert!(Extent::try_from(text.to_string()).is_err(), "{text}");
        }
    }
}
