//! Loaded models: texts and tokens, and what is opened of them.
//!
//! Owns: the model's object. Must not know: how answers come about.

use std::sync::Arc;

use llama_pajamas::Change;

use super::embed::{EmbedOptions, NativeEmbedder};
use super::error::{Told, call};
use super::event::{Ear, Event, Listener};
use super::generate::Adapter;
use super::options::SessionOptions;
use super::owned::Owned;
use super::session::NativeSession;
use super::signals::{NativeWatch, Signals, watch};
use crate::arguments::text_of;
use crate::event::text_of as json_of;
use crate::model::lp_model;
use crate::session::SessionCell;

/// Loaded weights with their tokenizer. Any number of threads may use it.
#[derive(uniffi::Object)]
pub struct NativeModel(pub(crate) Owned<lp_model>);

#[uniffi::export]
impl NativeModel {
    /// Describes what was loaded and how, as JSON (C's lp_model_describe).
    pub fn describe(&self) -> Told<String> {
        call(|| text_of(&crate::model::described(&*self.0.get()?)?))
    }

    /// Tokens of `text`; `add_special` adds what the model wants around a text, as a generation does.
    pub fn tokenize(&self, text: String, add_special: bool) -> Told<Vec<i32>> {
        call(|| Ok(self.0.get()?.tokenizer().encode(&text, add_special)?))
    }

    /// Text of `tokens`, without control tokens and those that are not in the vocabulary.
    pub fn detokenize(&self, tokens: Vec<i32>) -> Told<String> {
        call(|| Ok(self.0.get()?.tokenizer().decode(&tokens)))
    }

    /// Opens a session with an empty text and a context of its own.
    pub fn session(&self, options: SessionOptions) -> Told<Arc<NativeSession>> {
        call(|| {
            let session = options.told().open(&*self.0.get()?)?;
            Ok(Arc::new(NativeSession(Owned::new(SessionCell::new(session)))))
        })
    }

    /// Loads an adapter from a GGUF file.
    pub fn load_adapter(&self, path: String) -> Told<Arc<Adapter>> {
        call(|| {
            let adapter = crate::model::adapters::load(&*self.0.get()?, path.as_ref())?;
            Ok(Arc::new(Adapter(Owned::new(adapter))))
        })
    }

    /// Opens an embedder.
    pub fn embedder(&self, options: EmbedOptions) -> Told<Arc<NativeEmbedder>> {
        call(|| NativeEmbedder::open(&*self.0.get()?, options))
    }

    /// Tells what an app knows of the device and the library cannot see; every reaction as JSON (C's LP_EVENT_CHANGE). Call it on every
    /// change and, where nothing watches, every few seconds with nothing new.
    pub fn report(&self, signals: Signals) -> Told<Vec<String>> {
        call(|| {
            let reactions = self.0.get()?.report(&signals.told().signals()?);
            Ok(reactions.into_iter().map(|reaction| json_of(&Change::Governed(reaction))).collect())
        })
    }

    /// Reads the device's signals every `every_ms` milliseconds (2000 do) on a thread of its own. Tells Change, on that thread; what
    /// the listener returns does not matter.
    pub fn watch(&self, every_ms: u32, listener: Option<Arc<dyn Listener>>) -> Told<Arc<NativeWatch>> {
        call(|| {
            let ear = Ear(listener);
            let hear = move |json: String| {
                let _ = ear.hear(|| Event::Change { json });
            };
            Ok(Arc::new(NativeWatch(Owned::new(watch(&*self.0.get()?, every_ms, hear)))))
        })
    }

    /// Closes it; its weights leave memory with the last session, embedder, adapter or watch of it. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}
