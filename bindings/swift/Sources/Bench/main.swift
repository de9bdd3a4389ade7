// What a token costs in Swift: `Bench MODEL TOKENS ROUNDS [stream|async]`. Prints, per round, CPU microseconds per token.
import Foundation
import LlamaPajamas

func cpuMicroseconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now)
    return Double(now.tv_sec) * 1e6 + Double(now.tv_nsec) / 1e3
}

/// Counted on whatever thread the library calls.
final class Heard: @unchecked Sendable {
    var text = ""
    var tokens = 0

    func hear(_ event: Event) {
        if case .token = event { tokens += 1 }
        if case .text(let text) = event { self.text += text }
    }
}

let words = CommandLine.arguments
let way = words.count > 4 ? words[4] : "callback"
let runtime = try Runtime(path: words[1])
let model = try runtime.load(PlanOptions(contextTokens: 2048, nThreads: 1))
let session = try model.session()
let options = GenerateOptions(maxTokens: UInt32(words[2])!, temperature: 0, ignoreEndOfTurn: true)
for _ in 0..<Int(words[3])! {
    let heard = Heard()
    let before = cpuMicroseconds()
    switch way {
    case "callback":
        _ = try session.generate("Once upon a time", options) { event in
            heard.hear(event)
            return true
        }
    case "stream":
        let stream = try session.stream("Once upon a time", options)
        defer { stream.release() }
        while heard.tokens < Int(words[2])! {
            for event in try stream.next(timeoutMs: -1) { heard.hear(event) }
        }
    default:
        for try await event in session.events("Once upon a time", options) { heard.hear(event) }
    }
    print(String(format: "%.3f", (cpuMicroseconds() - before) / Double(heard.tokens)))
}
