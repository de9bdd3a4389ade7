//! Any text as a model's chat template: an error with a line, or a prompt of bounded length, in bounded time.
//! Knows the public API alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llama_pajamas::{Message, Template};

fuzz_target!(|source: &str| {
    let template = Template::new(source, "<s>", "</s>");
    let messages = [
        Message::new("system", "Be brief."),
        Message::new("user", "Is it \u{1f999} or 羊驼?\n"),
        Message::new("assistant", " {{ neither }} "),
    ];
    for messages in [&messages[..], &messages[..0]] {
        let _ = template.render(messages, true);
    }
});
