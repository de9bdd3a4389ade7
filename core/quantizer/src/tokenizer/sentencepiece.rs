//! tokenizer.model: the pieces of a SentencePiece model and its rules, read from its protobuf encoding.
//! Source: sentencepiece_model.proto (ModelProto.pieces = 1, trainer_spec = 2, normalizer_spec = 3; SentencePiece.piece = 1,
//! score = 2, type = 3; TrainerSpec.model_type = 3; NormalizerSpec.precompiled_charsmap = 2, add_dummy_prefix = 3,
//! remove_extra_whitespaces = 4).

use super::TokenType;

/// One piece.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: TokenType,
}

/// A model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePiece {
    /// All pieces in order.
    pub(super) pieces: Vec<Piece>,
    /// Whether it is a unigram language model, not byte-pair encoding.
    pub(super) is_unigram: bool,
    /// Puts a space before a text.
    pub(super) adds_prefix: bool,
    /// Makes several spaces one, and none at the ends.
    pub(super) removes_spaces: bool,
    /// What characters become, empty where they stay.
    pub(super) character_map: Vec<u8>,
}

/// Reads a whole model.
pub(super) fn read(bytes: &[u8]) -> Result<SentencePiece, String> {
    let mut model = SentencePiece {
        pieces: Vec::new(),
        is_unigram: true,
        adds_prefix: true,
        removes_spaces: true,
        character_map: Vec::new(),
    };
    let mut message = Message { bytes, at: 0 };
    while let Some((field, value)) = message.next()? {
        let (1..=3, Field::Bytes(inner)) = (field, value) else { continue };
        let mut inside = Message { bytes: inner, at: 0 };
        if field == 1 {
            let at = model.pieces.len();
            model.pieces.push(read_piece(inner).map_err(|problem| format!("piece {at}: {problem}"))?);
            continue;
        }
        while let Some(entry) = inside.next()? {
            match (field, entry) {
                (2, (3, Field::Varint(kind))) => model.is_unigram = kind == 1,
                (3, (2, Field::Bytes(map))) => model.character_map = map.to_vec(),
                (3, (3, Field::Varint(flag))) => model.adds_prefix = flag != 0,
                (3, (4, Field::Varint(flag))) => model.removes_spaces = flag != 0,
                _ => {}
            }
        }
    }
    match model.pieces.is_empty() {
        true => Err("expected a SentencePiece model, found no pieces".into()),
        false => Ok(model),
    }
}

fn read_piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: TokenType::Normal };
    let mut message = Message { bytes, at: 0 };
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Field::Bytes(text)) => {
                piece.text =
                    String::from_utf8(text.to_vec()).map_err(|_| "text: expected UTF-8".to_string())?;
            }
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Varint(kind)) => {
                piece.kind = match kind {
                    1 => TokenType::Normal,
                    2 => TokenType::Unknown,
                    3 => TokenType::Control,
                    4 => TokenType::UserDefined,
                    5 => TokenType::Unused,
                    6 => TokenType::Byte,
                    other => return Err(format!("type: expected 1 to 6, got {other}")),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Other,
}

struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Message<'a> {
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, String> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Other
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                let four = self.take(4)?;
                Field::Fixed32(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            }
            other => return Err(format!("byte {}: expected wire type 0, 1, 2 or 5, got {other}", self.at)),
        };
        Ok(Some((tag >> 3, field)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("byte {}: expected a number of at most ten bytes", self.at))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let end = end.filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("byte {}: expected {length} more bytes", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_read_with_its_score_and_type() {
        let mut piece = vec![0x0a, 2, b'h', b'i', 0x15];
        piece.extend((-3.5f32).to_le_bytes());
        piece.extend([0x18, 6]);
        let mut model = vec![0x0a, piece.len() as u8];
        model.extend(&piece);
        let expected = Piece { text: "hi".into(), score: -3.5, kind: TokenType::Byte };
        assert_eq!(read(&model).unwrap().pieces, [expected]);
        for length in 0..model.len() {
            assert!(read(&model[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn rules_are_read_and_have_defaults() {
        let piece = [0x0a, 3, 0x0a, 1, b'a'];
        let usual = read(&piece).unwrap();
        assert!(
            usual.is_unigram && usual.adds_prefix && usual.removes_spaces && usual.character_map.is_empty()
        );
        let trainer = [0x12, 2, 0x18, 2];
        let normalizer = [0x1a, 8, 0x12, 2, 7, 8, 0x18, 0, 0x20, 0];
        let model = read(&[&piece[..], &trainer, &normalizer].concat()).unwrap();
        assert!(!model.is_unigram && !model.adds_prefix && !model.removes_spaces);
        assert_eq!(model.character_map, [7, 8]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
            let _ = read(&bytes);
        }
    }
}
