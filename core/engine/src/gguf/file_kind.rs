//! Files of pictures and sound.
//!
//! Owns: telling them by their first bytes. Must not know: how they are read.

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Sound,
}

impl Kind {
    pub(super) fn of(file: &[u8]) -> Option<Self> {
        let begins = |magic: &[u8]| file.starts_with(magic);
        if file.len() < 12 {
            return None;
        }
        if begins(b"\xff\xd8\xff") || begins(b"\x89PNG\r\n\x1a\n") || begins(b"BM") || begins(b"GIF8") {
            return Some(Self::Picture);
        }
        let mpeg = file[0] == 0xff && file[1] & 0xe0 == 0xe0;
        let wave = begins(b"RIFF") && &file[8..12] == b"WAVE";
        (wave || mpeg || begins(b"ID3") || begins(b"fLaC")).then_some(Self::Sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let of = |bytes: &[u8]| Kind::of(&[bytes, &[0; 12]].concat());
        assert_eq!(of(b"\xff\xd8\xff\xe0"), Some(Kind::Picture));
        assert_eq!(of(b"\x89PNG\r\n\x1a\n"), Some(Kind::Picture));
        assert_eq!(of(b"RIFF\0\0\0\0WAVE"), Some(Kind::Sound));
        assert_eq!(of(b"\xff\xfb"), Some(Kind::Sound));
        for other in [&b"RIFF\0\0\0\0WEBP"[..], b"#!/bin/sh", b"<svg", b"\0\0\0\x18ftypmp42"] {
            assert_eq!(of(other), None);
        }
        assert_eq!(Kind::of(b"BM"), None);
    }
}
