// Sessions: answers, and what a session holds as bytes.
package io.github.llamapajamas

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.filterIsInstance
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.withContext

/** One text in progress, with a context of its own. One call at a time: a second one is refused with [ErrorCode.IN_USE]. */
class Session internal constructor(private val raw: NativeSession) : AutoCloseable {
    /**
     * Answers [prompt], which is the whole text: what it has in common with the session's text so far is not computed again. Returns
     * when the answer has ended; its text comes as [Event.Text]. An answer that was stopped is no error. Blocks.
     */
    fun generate(
        prompt: String,
        options: GenerateOptions = GenerateOptions(),
        cancel: CancelToken? = null,
        onEvent: Hear? = null,
    ): Usage = listened(onEvent) { raw.generate(prompt, options, cancel, it) }

    /** Answers a conversation, the whole of it, through the model's chat template. Blocks. */
    fun chat(
        messages: List<Message>,
        options: GenerateOptions = GenerateOptions(),
        cancel: CancelToken? = null,
        onEvent: Hear? = null,
    ): Usage = listened(onEvent) { raw.chat(messages, options, cancel, it) }

    /**
     * The events of an answer, [Event.Done] at last. Begins when it is collected and computes on a thread of the library, a few tokens
     * ahead; a collector that is cancelled or stops early cancels the answer and gives the session back before it returns.
     */
    fun events(prompt: String, options: GenerateOptions = GenerateOptions()): Flow<Event> = flowOf { raw.stream(prompt, options) }

    /** The same for a conversation. */
    fun chatEvents(messages: List<Message>, options: GenerateOptions = GenerateOptions()): Flow<Event> =
        flowOf { raw.streamChat(messages, options) }

    /** The texts of an answer as they come. */
    fun texts(prompt: String, options: GenerateOptions = GenerateOptions()): Flow<String> =
        events(prompt, options).filterIsInstance<Event.Text>().map { it.text }

    /** The same for a conversation. */
    fun chatTexts(messages: List<Message>, options: GenerateOptions = GenerateOptions()): Flow<String> =
        chatEvents(messages, options).filterIsInstance<Event.Text>().map { it.text }

    /** An answer without coroutines: fetched event by event. The session belongs to the stream until that has ended or is closed. */
    fun stream(prompt: String, options: GenerateOptions = GenerateOptions()): Stream = Stream(raw.stream(prompt, options))

    /** The same for a conversation. */
    fun streamChat(messages: List<Message>, options: GenerateOptions = GenerateOptions()): Stream =
        Stream(raw.streamChat(messages, options))

    /** What the session holds: [restore] goes on from there in any process with the same library and model. */
    fun save(): ByteArray = raw.save()

    /** Makes the session hold what [save] returned; other bytes are refused with [ErrorCode.INVALID_ARGUMENT]. */
    fun restore(state: ByteArray) = raw.restore(state)

    /** Opens another session that holds the same and goes on by itself. */
    fun fork(): Session = Session(raw.fork())

    /** Closes it; a call or stream that uses it keeps it until it ends. */
    override fun close() = raw.release()
}

private fun flowOf(begin: () -> NativeStream): Flow<Event> = flow {
    val stream = begin()
    try {
        while (true) {
            for (event in waiting(stream::cancel) { stream.next(-1) }) {
                emit(event)
                if (event is Event.Done) return@flow
            }
        }
    } finally {
        withContext(NonCancellable + Dispatchers.IO) { stream.release() }
    }
}
