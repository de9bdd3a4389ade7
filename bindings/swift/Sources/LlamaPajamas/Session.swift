// Sessions: answers, and what a session holds as bytes.
import Foundation

/// One text in progress, with a context of its own. One call at a time: a second one is refused with `.inUse`.
public final class Session: Sendable {
    private let raw: NativeSession

    init(_ raw: NativeSession) { self.raw = raw }

    /// Answers `prompt`, which is the whole text: what it has in common with the session's text so far is not computed again. Returns
    /// when the answer has ended; its text comes as `.text`. An answer that was stopped is no error. Blocks.
    public func generate(
        _ prompt: String, _ options: GenerateOptions = GenerateOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil
    ) throws -> Usage {
        try listened(onEvent) { try raw.generate(prompt: prompt, options: options, cancel: cancel, listener: $0) }
    }

    /// Answers a conversation, the whole of it, through the model's chat template. Blocks.
    public func chat(
        _ messages: [Message], _ options: GenerateOptions = GenerateOptions(), cancel: CancelToken? = nil, onEvent: Hear? = nil
    ) throws -> Usage {
        try listened(onEvent) { try raw.chat(messages: messages, options: options, cancel: cancel, listener: $0) }
    }

    /// The events of an answer, `.done` at last. Computes on a thread of the library, a few tokens ahead. A task that is cancelled, and
    /// a loop that is left with its stream, cancel the answer; the session is free when the stream is gone.
    public func events(_ prompt: String, _ options: GenerateOptions = GenerateOptions()) -> AsyncThrowingStream<Event, any Error> {
        Answer.stream { try self.raw.stream(prompt: prompt, options: options) }
    }

    /// The same for a conversation.
    public func chatEvents(_ messages: [Message], _ options: GenerateOptions = GenerateOptions()) -> AsyncThrowingStream<Event, any Error> {
        Answer.stream { try self.raw.streamChat(messages: messages, options: options) }
    }

    /// The texts of an answer as they come.
    public func texts(_ prompt: String, _ options: GenerateOptions = GenerateOptions()) -> AsyncThrowingStream<String, any Error> {
        Answer.texts(events(prompt, options))
    }

    /// The same for a conversation.
    public func chatTexts(_ messages: [Message], _ options: GenerateOptions = GenerateOptions()) -> AsyncThrowingStream<String, any Error> {
        Answer.texts(chatEvents(messages, options))
    }

    /// An answer without tasks: `next(timeoutMs:)` fetches events, `release()` gives the session back.
    public func stream(_ prompt: String, _ options: GenerateOptions = GenerateOptions()) throws -> NativeStream {
        try raw.stream(prompt: prompt, options: options)
    }

    /// What the session holds: `restore` goes on from there in any process with the same library and model.
    public func save() throws -> Data { try raw.save() }

    /// Makes the session hold what `save` returned; other bytes are refused with `.invalidArgument`.
    public func restore(_ state: Data) throws { try raw.restore(bytes: state) }

    /// Opens another session that holds the same and goes on by itself.
    public func fork() throws -> Session { Session(try raw.fork()) }

    /// Closes it; a call or stream that uses it keeps it until it ends.
    public func close() { raw.release() }
}

/// An answer that tasks fetch; it gives the session back when it is over or nobody has it any more.
final class Answer: @unchecked Sendable {
    private let begin: @Sendable () throws -> NativeStream
    private let lock = NSLock()
    private var raw: NativeStream?
    private var events: [Event] = []
    private var isOver = false

    private init(_ begin: @escaping @Sendable () throws -> NativeStream) { self.begin = begin }

    deinit { raw?.release() }

    static func stream(_ begin: @escaping @Sendable () throws -> NativeStream) -> AsyncThrowingStream<Event, any Error> {
        let answer = Answer(begin)
        return AsyncThrowingStream(unfolding: { try await answer.next() })
    }

    static func texts(_ events: AsyncThrowingStream<Event, any Error>) -> AsyncThrowingStream<String, any Error> {
        let source = Source(events.makeAsyncIterator())
        return AsyncThrowingStream(unfolding: {
            while let event = try await source.iterator.next() {
                if case .text(let text) = event { return text }
            }
            return nil
        })
    }

    private func next() async throws -> Event? {
        if let event = taken() { return event }
        guard let stream = try opened() else { return nil }
        do {
            let more = try await waiting(stop: { stream.cancel() }) { try stream.next(timeoutMs: -1) }
            lock.withLock { events.append(contentsOf: more) }
        } catch {
            close()
            throw error
        }
        return taken()
    }

    private func taken() -> Event? {
        lock.withLock {
            guard !events.isEmpty else { return nil }
            let event = events.removeFirst()
            if case .done = event {
                isOver = true
                raw?.release()
            }
            return event
        }
    }

    private func opened() throws -> NativeStream? {
        try lock.withLock {
            if isOver { return nil }
            if let raw { return raw }
            let stream = try begin()
            raw = stream
            return stream
        }
    }

    private func close() {
        lock.withLock {
            isOver = true
            raw?.release()
        }
    }
}

/// An iterator that one task at a time uses.
private final class Source: @unchecked Sendable {
    var iterator: AsyncThrowingStream<Event, any Error>.Iterator

    init(_ iterator: AsyncThrowingStream<Event, any Error>.Iterator) { self.iterator = iterator }
}
