//! Sessions: answers told to a listener, and what a session holds as bytes.
//!
//! Owns: the session's object. Must not know: how answers come about.

use std::sync::Arc;

use llama_pajamas::Prompt;

use super::cancel::{CancelToken, token};
use super::error::{Told, call};
use super::event::{Ear, Event, Listener, Usage};
use super::generate::{GenerateOptions, Message, conversation};
use super::owned::Owned;
use super::stream::NativeStream;
use crate::error::Failure;
use crate::session::{SessionCell, lp_session, states, told};

/// One text in progress, with a context of its own. One call at a time: a second one is refused with InUse.
#[derive(uniffi::Object)]
pub struct NativeSession(pub(crate) Owned<lp_session>);

#[uniffi::export]
impl NativeSession {
    /// Answers `prompt`, which is the whole text: what it has in common with the session's text so far is not computed again. Returns
    /// when the answer has ended; an answer that was stopped is no error.
    pub fn generate(
        &self,
        prompt: String,
        options: GenerateOptions,
        cancel: Option<Arc<CancelToken>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Told<Usage> {
        call(|| {
            let (session, settings, ear) = (self.0.get()?, options.settings()?, Ear(listener));
            let mut hear = |event: llama_pajamas::Event<'_>| ear.hear(|| Event::of(&event));
            let usage = session
                .with(|session| Ok(session.generate(&prompt, &settings, &token(cancel), &mut hear)?))?;
            Ok(ended(&usage, &ear))
        })
    }

    /// Answers a conversation through the model's chat template, else as [`NativeSession::generate`]. `messages` is the whole
    /// conversation.
    pub fn chat(
        &self,
        messages: Vec<Message>,
        options: GenerateOptions,
        cancel: Option<Arc<CancelToken>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Told<Usage> {
        call(|| {
            let (session, settings, ear) = (self.0.get()?, options.settings()?, Ear(listener));
            let messages = conversation(messages);
            let mut hear = |event: llama_pajamas::Event<'_>| ear.hear(|| Event::of(&event));
            let usage = session
                .with(|session| Ok(session.chat(&messages, &settings, &token(cancel), &mut hear)?))?;
            Ok(ended(&usage, &ear))
        })
    }

    /// Begins to answer and returns at once. The session belongs to the stream until that is released.
    pub fn stream(&self, prompt: String, options: GenerateOptions) -> Told<Arc<NativeStream>> {
        call(|| self.begin(Prompt::Text(prompt), &options))
    }

    /// The same for a conversation.
    pub fn stream_chat(&self, messages: Vec<Message>, options: GenerateOptions) -> Told<Arc<NativeStream>> {
        call(|| self.begin(Prompt::Messages(conversation(messages)), &options))
    }

    /// What the session holds, as bytes: [`NativeSession::restore`] goes on from there in any process with the same build of the
    /// library and the same model.
    pub fn save(&self) -> Told<Vec<u8>> {
        call(|| self.0.get()?.with(states::save))
    }

    /// Makes the session hold what [`NativeSession::save`] returned.
    pub fn restore(&self, bytes: Vec<u8>) -> Told<()> {
        call(|| self.0.get()?.with(|session| states::restore(session, &bytes)))
    }

    /// Opens another session that holds the same and goes on by itself.
    pub fn fork(&self) -> Told<Arc<Self>> {
        call(|| {
            let fork = self.0.get()?.with(states::fork)?;
            Ok(Arc::new(Self(Owned::new(SessionCell::new(fork)))))
        })
    }

    /// Closes it; a call or stream that uses it keeps it until it ends. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}

impl NativeSession {
    fn begin(&self, prompt: Prompt, options: &GenerateOptions) -> Result<Arc<NativeStream>, Failure> {
        NativeStream::open(self.0.get()?, prompt, options.settings()?)
    }
}

/// Tells the end; the session is free by now.
fn ended(usage: &llama_pajamas::Usage, ear: &Ear) -> Usage {
    told(usage);
    let _ = ear.hear(|| Event::done(usage));
    Usage::of(usage)
}
