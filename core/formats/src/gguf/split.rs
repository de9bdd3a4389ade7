//! Models split over several GGUF files: the description each part carries, and all parts as one table.
//! Knows the `split.*` keys and the naming pattern; must not open files.

use super::*;
use std::collections::HashMap;

/// What the `split.*` keys of one part say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Number of this part, from 0.
    pub number: u16,
    /// Parts of the model.
    pub n_parts: u16,
    /// Tensors of all parts together; only the first part must state it.
    pub n_tensors: Option<u64>,
}

impl Split {
    /// Reads the keys; `None` when the file is a whole model (no `split.count`, or one of at most 1).
    ///
    /// The types must be the ones llama.cpp writes (`u16`, `u16`, `i32`): it aborts the process on others.
    ///
    /// # Errors
    /// A key of another type, or a number that is not below the count.
    pub fn of(metadata: &Metadata) -> Result<Option<Self>, Error> {
        let n_parts = match metadata.get(COUNT_KEY) {
            None => return Ok(None),
            Some(Value::U16(n)) => *n,
            Some(other) => return Err(refuse(COUNT_KEY, "a u16 (type 2)", kind(other))),
        };
        if n_parts <= 1 {
            return Ok(None);
        }
        let number = match metadata.get(NUMBER_KEY) {
            Some(Value::U16(n)) if *n < n_parts => *n,
            Some(Value::U16(n)) => return Err(refuse(NUMBER_KEY, format!("less than {n_parts}"), n)),
            Some(other) => return Err(refuse(NUMBER_KEY, "a u16 (type 2)", kind(other))),
            None => return Err(refuse(NUMBER_KEY, "a u16 (type 2)", "nothing")),
        };
        let n_tensors = match metadata.get(TENSORS_KEY) {
            None => None,
            Some(Value::I32(n)) if *n >= 0 => Some(n.unsigned_abs().into()),
            Some(Value::I32(n)) => return Err(refuse(TENSORS_KEY, "a number from 0", n)),
            Some(other) => return Err(refuse(TENSORS_KEY, "an i32 (type 5)", kind(other))),
        };
        Ok(Some(Self { number, n_parts, n_tensors }))
    }
}

/// All parts of a model as one table. A whole model is a set of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitSet {
    parts: Vec<Header>,
    /// Tensor name → part and place in its table.
    places: HashMap<String, (usize, usize)>,
}

/// A tensor of a [`SplitSet`] and the part that holds its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitTensor<'a> {
    /// Index of the part, from 0.
    pub part: usize,
    /// The tensor, with offsets of that part's file.
    pub info: &'a TensorInfo,
}

impl SplitSet {
    /// Joins the headers of all parts, given in order.
    ///
    /// # Errors
    /// A part that is missing, surplus or out of order, a count of tensors that does not add up,
    /// or a tensor that stands in two parts.
    pub fn new(parts: Vec<Header>) -> Result<Self, Error> {
        let Some(first) = parts.first() else { return Err(refuse("split", "at least one part", "none")) };
        let whole = Split { number: 0, n_parts: 1, n_tensors: None };
        let first = Split::of(&first.metadata)?;
        let n_parts = first.unwrap_or(whole).n_parts;
        if parts.len() != usize::from(n_parts) {
            return Err(refuse(COUNT_KEY, format!("{n_parts} parts"), parts.len()));
        }
        let mut places = HashMap::new();
        for (part, header) in parts.iter().enumerate() {
            let split = Split::of(&header.metadata)?.unwrap_or(whole);
            if split.n_parts != n_parts {
                let field = format!("{COUNT_KEY} of part {part}");
                return Err(refuse(field, n_parts, split.n_parts));
            }
            if usize::from(split.number) != part {
                return Err(refuse(format!("{NUMBER_KEY} of part {part}"), part, split.number));
            }
            for (place, tensor) in header.tensors.iter().enumerate() {
                if places.insert(tensor.name.clone(), (part, place)).is_some() {
                    return Err(Error::Duplicate { field: "tensor", name: tensor.name.clone() });
                }
            }
        }
        if let Some(first) = first {
            let n_tensors = first.n_tensors.ok_or_else(|| refuse(TENSORS_KEY, places.len(), "nothing"))?;
            if n_tensors != places.len() as u64 {
                return Err(refuse(TENSORS_KEY, format!("{} tensors of all parts", places.len()), n_tensors));
            }
        }
        Ok(Self { parts, places })
    }

    /// Headers of the parts, in order.
    pub fn parts(&self) -> &[Header] {
        &self.parts
    }

    /// The model's metadata: the first part's.
    pub fn metadata(&self) -> &Metadata {
        &self.parts[0].metadata
    }

    /// Every tensor, part by part.
    pub fn tensors(&self) -> impl Iterator<Item = SplitTensor<'_>> {
        let parts = self.parts.iter().enumerate();
        parts.flat_map(|(part, header)| header.tensors.iter().map(move |info| SplitTensor { part, info }))
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<SplitTensor<'_>> {
        let &(part, place) = self.places.get(name)?;
        Some(SplitTensor { part, info: &self.parts[part].tensors[place] })
    }
}

/// Name of part `number` (from 0) of `n_parts`: `prefix-00001-of-00003.gguf`.
pub fn split_file_name(prefix: &str, number: u16, n_parts: u16) -> String {
    format!("{prefix}-{:05}-of-{n_parts:05}.gguf", u32::from(number) + 1)
}

/// The prefix from which [`split_file_name`] makes `file_name`; `None` when it is not the name of that part.
pub fn split_file_prefix(file_name: &str, number: u16, n_parts: u16) -> Option<&str> {
    let prefix = file_name.strip_suffix(&split_file_name("", number, n_parts))?;
    (!prefix.is_empty()).then_some(prefix)
}

const NUMBER_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const TENSORS_KEY: &str = "split.tensors.count";

fn kind(value: &Value) -> String {
    format!("a value of type {}", value.type_id())
}

fn refuse(field: impl Into<String>, expected: impl ToString, got: impl ToString) -> Error {
    Error::Split { field: field.into(), expected: expected.to_string(), got: got.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: Value, n_parts: Value, n_tensors: Value, names: &[&str]) -> Header {
        let metadata =
            Metadata::from_iter([(NUMBER_KEY, number), (COUNT_KEY, n_parts), (TENSORS_KEY, n_tensors)]);
        let tensors: Vec<_> = names
            .iter()
            .map(|name| TensorSpec { name: (*name).into(), dims: vec![1], ty: GgmlType::F32 })
            .collect();
        let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
        for _ in &tensors {
            writer.write(&[0; 4]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        Header::read(bytes.as_slice(), bytes.len() as u64).unwrap()
    }

    fn good(number: u16, names: &[&str]) -> Header {
        part(Value::U16(number), Value::U16(2), Value::I32(3), names)
    }

    #[test]
    fn parts_become_one_table() {
        let set = SplitSet::new(vec![good(0, &["a", "b"]), good(1, &["c"])]).unwrap();
        assert_eq!(set.tensors().map(|t| t.info.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(set.tensor("c").unwrap().part, 1);
        assert!(set.tensor("d").is_none());
    }

    #[test]
    fn a_whole_model_is_a_set_of_one() {
        let whole = part(Value::U16(0), Value::U16(1), Value::I32(9), &["a"]);
        assert_eq!(SplitSet::new(vec![whole]).unwrap().tensors().count(), 1);
    }

    #[test]
    fn sets_that_do_not_fit_together_name_the_key() {
        let with = |number, n_parts, n_tensors| part(number, n_parts, n_tensors, &["a", "b"]);
        for (parts, word) in [
            (vec![], "at least one"),
            (vec![good(0, &["a"])], "expected 2 parts, got 1"),
            (vec![good(1, &["a", "b"]), good(0, &["c"])], "split.no of part 0"),
            (vec![good(0, &["a", "b"]), good(0, &["c"])], "split.no of part 1"),
            (vec![good(0, &["a", "b"]), good(1, &["a"])], "`a` appears twice"),
            (vec![good(0, &["a"]), good(1, &["c"])], "split.tensors.count: expected 2"),
            (vec![with(Value::U16(2), Value::U16(2), Value::I32(3))], "less than 2"),
            (vec![with(Value::U32(0), Value::U16(2), Value::I32(3))], "u16"),
            (vec![with(Value::U16(0), Value::U32(2), Value::I32(3))], "u16"),
            (vec![with(Value::U16(0), Value::U16(2), Value::U32(3))], "i32"),
            (vec![with(Value::U16(0), Value::U16(2), Value::I32(-1))], "from 0"),
            (
                vec![good(0, &["a", "b"]), part(Value::U16(1), Value::U16(3), Value::I32(3), &["c"])],
                "split.count of part 1",
            ),
        ] {
            let message = SplitSet::new(parts).unwrap_err().to_string();
            assert!(message.contains(word), "{word}: {message}");
        }
    }

    #[test]
    fn part_names_follow_the_pattern() {
        assert_eq!(split_file_name("m-Q4", 0, 3), "m-Q4-00001-of-00003.gguf");
        assert_eq!(split_file_prefix("m-Q4-00001-of-00003.gguf", 0, 3), Some("m-Q4"));
        assert_eq!(split_file_prefix("m-Q4-00001-of-00003.gguf", 1, 3), None);
        assert_eq!(split_file_prefix("-00001-of-00003.gguf", 0, 3), None);
    }
}
