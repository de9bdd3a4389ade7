//! tokenizer.model: the pieces of a SentencePiece model, read from its protobuf encoding.
//! Source: sentencepiece_model.proto (ModelProto.pieces = 1; SentencePiece.piece = 1, score = 2, type = 3).

use super::TokenType;

/// One piece.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: TokenType,
}

/// All pieces in order.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut message = Message { bytes, at: 0 };
    while let Some((field, value)) = message.next()? {
        if let (1, Field::Bytes(inner)) = (field, value) {
            pieces.push(read_piece(inner).map_err(|problem| format!("piece {}: {problem}", pieces.len()))?);
        }
    }
    if pieces.is_empty() { Err("expected a SentencePiece model, found no pieces".into()) } else { Ok(pieces) }
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
        assert_eq!(read(&model).unwrap(), [expected]);
        for length in 0..model.len() {
            assert!(read(&model[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
            let _ = read(&bytes);
        }
    }
}
