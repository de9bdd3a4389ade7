// Answers that are fetched event by event.
package io.github.llamapajamas

/**
 * An answer under way on a thread of the library, which computes a few tokens ahead and then waits to be asked. An iterator of events,
 * [Event.Done] at last; at its end it closes itself, and [usage] tells how it ended. One thread at a time, but for [cancel].
 */
class Stream internal constructor(private val raw: NativeStream) : Iterator<Event>, AutoCloseable {
    private val events = ArrayDeque<Event>()

    /** How the answer ended; null until then. */
    var usage: Usage? = null
        private set

    /** The next event; null: nothing has come within [timeoutMs]. 0 looks without waiting, below 0 waits as long as it takes. */
    fun next(timeoutMs: Long): Event? {
        if (events.isEmpty()) events.addAll(raw.next(timeoutMs))
        val event = events.removeFirstOrNull()
        if (event is Event.Done) {
            usage = event.usage
            close()
        }
        return event
    }

    override fun hasNext(): Boolean = usage == null

    override fun next(): Event = if (hasNext()) checkNotNull(next(-1)) else throw NoSuchElementException()

    /** The texts of the answer as they come. */
    fun texts(): Sequence<String> = asSequence().filterIsInstance<Event.Text>().map { it.text }

    /** Ends the answer within the work of one layer; what it has told so far can still be fetched. Any thread may call it. */
    fun cancel() = raw.cancel()

    /** Gives the session back. An answer that is not over is cancelled and waited for. */
    override fun close() = raw.release()
}
