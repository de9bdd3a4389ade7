// Chat.swift: a conversation on a terminal. Ctrl-C stops an answer, the end of the input the program. Chat MODEL
import Foundation
import LlamaPajamas

let runtime = try Runtime(path: CommandLine.arguments[1])
let model = try await runtime.loadAsync()
let session = try model.session(SessionOptions(whenFull: .shift))  // a long conversation loses its older half
var messages = [Message(role: "system", content: "You are a friendly companion. Answer in a few sentences.")]

signal(SIGINT, SIG_IGN)
let interrupts = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
interrupts.resume()

while true {
    print("> ", terminator: "")
    guard let line = readLine() else { break }
    if line.isEmpty { continue }
    messages.append(Message(role: "user", content: line))
    // The whole conversation is handed in; what the session computed already is not computed again.
    let cancel = CancelToken()
    interrupts.setEventHandler { cancel.cancel() }
    let (question, pieces) = (messages, Pieces())
    _ = try session.chat(question, GenerateOptions(maxTokens: 256), cancel: cancel) { event in
        if case .text(let piece) = event { pieces.append(piece) }
        return true
    }
    print()
    messages.append(Message(role: "assistant", content: pieces.text))
}
print()

/// What is heard of an answer: callbacks come on the thread of the call, here the only one.
final class Pieces: @unchecked Sendable {
    private(set) var text = ""

    func append(_ piece: String) {
        text += piece
        print(piece, terminator: "")
        fflush(nil)
    }
}
