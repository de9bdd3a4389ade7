// swift-tools-version:6.0
// The Swift package. On Apple's systems the library comes as the XCFramework that `cargo xtask package xcframework` makes beside this
// file; elsewhere it is a shared library that the linker finds (`swift build -Xlinker -L…`).
import PackageDescription

#if canImport(Darwin)
let library: [Target] = [.binaryTarget(name: "LlamaPajamasFFI", path: "LlamaPajamasFFI.xcframework")]
let settings: [LinkerSetting] = [.linkedLibrary("c++"), .linkedFramework("Metal", .when(platforms: [.macOS, .iOS])), .linkedFramework("Accelerate")]
#else
let library: [Target] = [.target(name: "LlamaPajamasFFI", path: "Sources/LlamaPajamasFFI", publicHeadersPath: ".")]
let settings: [LinkerSetting] = [.linkedLibrary("llama_pajamas_ffi")]
#endif

let package = Package(
    name: "LlamaPajamas",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [.library(name: "LlamaPajamas", targets: ["LlamaPajamas"])],
    targets: library + [
        .target(name: "LlamaPajamas", dependencies: ["LlamaPajamasFFI"], linkerSettings: settings),
        .executableTarget(name: "Scenarios", dependencies: ["LlamaPajamas"]),
        .executableTarget(name: "Bench", dependencies: ["LlamaPajamas"]),
    ]
)
