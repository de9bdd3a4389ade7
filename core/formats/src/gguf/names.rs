//! Names of tensors, as far as the container's specification sets them: `blk.N.` in front of what belongs to layer N.
//! Must not know what a tensor is for.

use std::str::FromStr;

/// The layer that a tensor of this name belongs to: 7 of `blk.7.ffn_up.weight`; `None` for one of no layer.
pub fn layer_of<N: FromStr>(name: &str) -> Option<N> {
    in_layer(name).map(|(layer, _)| layer)
}

/// The layer and what the tensor is called there: 7 and `ffn_up.weight` of `blk.7.ffn_up.weight`.
pub fn in_layer<N: FromStr>(name: &str) -> Option<(N, &str)> {
    let rest = name.strip_prefix("blk.")?;
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    Some((layer.parse().ok()?, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named() {
        assert_eq!(layer_of("blk.17.ffn_up_exps.weight"), Some(17_u32));
        assert_eq!(in_layer("blk.17.ffn_up_exps.weight"), Some((17_u32, "ffn_up_exps.weight")));
        assert_eq!(layer_of::<u32>("token_embd.weight"), None);
        assert_eq!(layer_of::<u32>("blk.x.ffn_up_exps.weight"), None);
        assert_eq!(layer_of::<u8>("blk.300.attn_q.weight"), None);
    }
}
