//! Figures with an origin, and which of two holds.
//! Owns the precedence; must not know profiles or models.

use serde::Serialize;

/// Where a figure comes from. The later one holds: a measurement stands above everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// What machines of the same class have in common.
    ClassDefault,
    /// What is known of this chip.
    Profile,
    /// What the system or a driver states.
    Detected,
    /// What was measured on this machine.
    Measured,
}

impl Origin {
    /// The name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClassDefault => "class default",
            Self::Profile => "profile",
            Self::Detected => "detected",
            Self::Measured => "measured",
        }
    }
}

/// An interval with its origin. Where the figure is exact both ends are equal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fact {
    /// Low and high end: 80 % of machines like this one are expected between them.
    pub range: [f64; 2],
    /// Where it comes from.
    pub origin: Origin,
    /// The profile, class, file or measurement.
    pub source: String,
}

/// What speed estimates start from, of one memory: the host's, or a graphics device's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Priors {
    /// Peak bandwidth, in GB/s.
    pub bandwidth_gbs: Option<Fact>,
    /// What one busy core of the fastest kind draws of it, in GB/s.
    pub core_bandwidth_gbs: Option<Fact>,
    /// Share of the peak that decoding reaches.
    pub eta_decode: Option<Fact>,
    /// Time that a layer costs whatever its size, in microseconds.
    pub layer_us: Option<Fact>,
    /// Speed after minutes of work as a share of the speed at the start.
    pub sustained: Option<Fact>,
}

impl Priors {
    /// Takes over every figure of `other` whose origin stands above (or equals) what is here.
    pub fn prefer(&mut self, other: Priors) {
        prefer(&mut self.bandwidth_gbs, other.bandwidth_gbs);
        prefer(&mut self.core_bandwidth_gbs, other.core_bandwidth_gbs);
        prefer(&mut self.eta_decode, other.eta_decode);
        prefer(&mut self.layer_us, other.layer_us);
        prefer(&mut self.sustained, other.sustained);
    }
}

fn prefer(here: &mut Option<Fact>, other: Option<Fact>) {
    if let Some(other) = other
        && here.as_ref().is_none_or(|here| here.origin <= other.origin)
    {
        *here = Some(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stronger_origin_holds_in_any_order() {
        let fact = |origin| Priors {
            bandwidth_gbs: Some(Fact { range: [origin as u8 as f64; 2], origin, source: String::new() }),
            ..Priors::default()
        };
        let all = [Origin::Profile, Origin::Measured, Origin::ClassDefault, Origin::Detected];
        for first in all {
            for second in all {
                let mut priors = fact(first);
                priors.prefer(fact(second));
                let held = priors.bandwidth_gbs.as_ref().expect("one of both").origin;
                assert_eq!(held, first.max(second));
                priors.prefer(Priors::default());
                assert_eq!(priors.bandwidth_gbs.as_ref().map(|fact| fact.origin), Some(held));
            }
        }
    }
}
