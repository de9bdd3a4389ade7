//! Stands for reading what a manifest says of its model in builds that make no bundles.

use bundle::Bundle;
use families::Description;

/// Nothing: such bundles are refused.
pub(super) fn description(_bundle: &Bundle) -> Option<Description> {
    None
}
