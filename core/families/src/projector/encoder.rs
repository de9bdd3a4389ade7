//! What the computation of a projector depends on, as its file states it.
//! Owns the keys; must not know memory.

use super::ARCHITECTURE;
use formats::gguf::{Metadata, Value};

/// The shape of a vision encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    /// Values of a patch.
    pub width: u64,
    /// Values between the two matrices behind attention.
    pub feed_forward: u64,
    /// Heads of attention.
    pub n_heads: u64,
    /// Pixels of an image's side.
    pub image_size: u64,
    /// Pixels of a patch's side.
    pub patch_size: u64,
}

impl Encoder {
    /// Of a projector's file; `None` where it states no whole shape.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let number = |key: &str| match metadata.get(&format!("{ARCHITECTURE}.vision.{key}"))? {
            Value::U32(number) => Some(u64::from(*number)).filter(|number| *number > 0),
            _ => None,
        };
        Some(Self {
            width: number("embedding_length")?,
            feed_forward: number("feed_forward_length")?,
            n_heads: number("attention.head_count")?,
            image_size: number("image_size")?,
            patch_size: number("patch_size")?,
        })
    }

    /// Patches of one image.
    pub fn n_patches(&self) -> u64 {
        let side = self.image_size / self.patch_size.max(1);
        side.saturating_mul(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_whole_or_none() {
        let mut metadata = Metadata::new();
        let keys = [
            ("embedding_length", 1152),
            ("feed_forward_length", 4304),
            ("attention.head_count", 16),
            ("image_size", 896),
        ];
        for (key, number) in keys {
            metadata.insert(format!("clip.vision.{key}"), Value::U32(number));
        }
        assert_eq!(Encoder::of(&metadata), None);
        metadata.insert("clip.vision.patch_size", Value::U32(14));
        assert_eq!(Encoder::of(&metadata).map(|encoder| encoder.n_patches()), Some(4096));
    }
}
