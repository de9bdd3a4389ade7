// Tell.swift: goes on with a text. Tell MODEL TEXT
import LlamaPajamas

let runtime = try Runtime(path: CommandLine.arguments[1])
let model = try await runtime.loadAsync()
let session = try model.session()
for try await piece in session.texts(CommandLine.arguments[2], GenerateOptions(maxTokens: 40, seed: 1)) {
    print(piece, terminator: "")
}
print()
