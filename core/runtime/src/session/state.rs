//! Sessions as bytes: written by one process, gone on with by another, and copied within one.
//!
//! Owns the layout: magic `LPSESS01`, length of the header u32, header in JSON, tokens i32 each, the engine's state; all
//! little-endian. A state belongs to one engine build and one model, by digest. Must not know where the bytes are kept.

use super::Session;
use crate::{Error, Result};
use engine::Token;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"LPSESS01";
/// Longest header that is read.
const MAX_HEADER_BYTES: usize = 1 << 16;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Name, version and kernels of what computed it.
    engine: String,
    /// Digest of the model.
    model: String,
    /// How many tokens follow.
    n_tokens: usize,
}

fn refused(expected: String, got: String) -> Error {
    Error::Request { what: "state", expected, got }
}

impl Session {
    /// What the context holds, to be gone on with by [`Session::restore`] in any process with the same engine build and
    /// model. What an encoder has read is not part of it.
    ///
    /// # Errors
    /// What the engine refuses; a model file that is no longer there to be told by; a session whose last answer had adapters.
    pub fn save(&self) -> Result<Vec<u8>> {
        if !self.adapters.is_empty() {
            let got = format!("{}: a state does not tell adapters apart", self.adapters.len());
            return Err(refused("a session without adapters".into(), got));
        }
        let engine = self.context.state()?;
        let header = Header {
            engine: self.model.engine_build().to_owned(),
            model: self.model.digest()?,
            n_tokens: self.held.len(),
        };
        let header = serde_json::to_vec(&header).expect("texts and numbers become JSON");
        let length = u32::try_from(header.len()).expect("a short header");
        let mut state = MAGIC.to_vec();
        state.extend_from_slice(&length.to_le_bytes());
        state.extend_from_slice(&header);
        state.extend(self.held.iter().flat_map(|token| token.to_le_bytes()));
        state.extend_from_slice(&engine);
        Ok(state)
    }

    /// Holds what [`Session::save`] wrote. Afterwards a prompt that begins with the same tokens costs only its rest.
    ///
    /// # Errors
    /// [`Error::Request`] for what is no state, damaged, too long, or of another engine build or model, which it names; the
    /// session then holds what it held, or nothing.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        let (header, rest) = read_header(state)?;
        if header.engine != self.model.engine_build() {
            return Err(refused(format!("one of {}", self.model.engine_build()), header.engine));
        }
        let model = self.model.digest()?;
        if header.model != model {
            return Err(refused(format!("one of the model {model}"), header.model));
        }
        let n_bytes = header.n_tokens.checked_mul(4).filter(|bytes| *bytes <= rest.len());
        let Some(n_bytes) = n_bytes else {
            return Err(refused(format!("{} tokens", header.n_tokens), format!("{} bytes", rest.len())));
        };
        if header.n_tokens > self.context.n_ctx() {
            let expected = format!("at most {} tokens", self.context.n_ctx());
            return Err(refused(expected, header.n_tokens.to_string()));
        }
        let (tokens, engine) = rest.split_at(n_bytes);
        let tokens: Vec<Token> =
            tokens.as_chunks().0.iter().map(|four| Token::from_le_bytes(*four)).collect();
        self.adapt(&[])?;
        self.held.clear();
        self.read.clear();
        self.context.restore(engine)?;
        if self.context.n_past() != tokens.len() {
            let got = format!("{} of the engine", self.context.n_past());
            self.context.truncate(0)?;
            return Err(refused(format!("{} tokens", tokens.len()), got));
        }
        self.held = tokens;
        Ok(())
    }

    /// Another session that holds the same and goes on by itself.
    ///
    /// # Errors
    /// As [`crate::LoadedModel::session`], and where the engine cannot copy what is held.
    pub fn fork(&self) -> Result<Self> {
        let mut other = self.model.session(&self.settings)?;
        other.adapt(&self.adapters)?;
        other.context.restore(&self.context.state()?)?;
        other.held = self.held.clone();
        Ok(other)
    }
}

fn read_header(state: &[u8]) -> Result<(Header, &[u8])> {
    let Some(rest) = state.strip_prefix(MAGIC) else {
        return Err(refused("`LPSESS01` at its beginning".into(), format!("{} bytes without", state.len())));
    };
    let header = rest.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_HEADER_BYTES { None } else { rest.split_at_checked(length) }
    });
    let Some((header, rest)) = header else {
        return Err(refused("a header".into(), format!("{} bytes in all", state.len())));
    };
    let header =
        serde_json::from_slice(header).map_err(|error| refused("a header".into(), error.to_string()))?;
    Ok((header, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_headers_are_refused() {
        for (state, said) in [
            (&b"LPSTATE1abcd"[..], "`LPSESS01` at its beginning, got 12 bytes without"),
            (b"LPSESS01ab", "expected a header, got 10 bytes"),
            (b"LPSESS01\x05\0\0\0{}", "expected a header, got 14 bytes"),
            (b"LPSESS01\xff\xff\xff\xff{}", "expected a header, got 14 bytes"),
            (b"LPSESS01\x02\0\0\0{}", "missing field `engine`"),
        ] {
            let error = read_header(state).expect_err("broken").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
