//! UniFFI's generator, of the version that the library is built with. `scripts/foreign-bindings` runs it.

fn main() {
    uniffi::uniffi_bindgen_main();
}
