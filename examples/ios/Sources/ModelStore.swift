// Where the model comes from: the app's own bundle, or a download that is checked, resumed and kept out of backups.
import Foundation
import LlamaPajamas
import Observation

@MainActor @Observable
final class ModelStore {
    enum State: Equatable {
        case idle
        case fetching(Double)
        case failed(String)
    }

    /// The manifest of the bundle that is fetched where the app brings none; the app's own server.
    static let manifest = "https://models.example.org/chat/manifest.json"
    private(set) var state = State.idle

    /// Not `Caches`, which the system empties, and not `Documents`, which the user sees.
    static var support: URL { URL.applicationSupportDirectory.appending(path: "llama-pajamas", directoryHint: .isDirectory) }

    /// The model's place on this device; nil where it could not be fetched.
    func model() async -> URL? {
        if let own = Bundle.main.url(forResource: "chat", withExtension: "bundle") { return own }
        let folder = Self.support.appending(path: "chat", directoryHint: .isDirectory)
        if FileManager.default.fileExists(atPath: folder.appending(path: "manifest.json").path(percentEncoded: false)) { return folder }
        state = .fetching(0)
        do {
            try FileManager.default.createDirectory(at: Self.support, withIntermediateDirectories: true)
            let (manifest, place) = (Self.manifest, folder.path(percentEncoded: false))
            // Until every hash is right there is no bundle; a call that was broken off is gone on with by the next.
            _ = try await pullAsync(manifest, to: place) { [weak self] event in
                if case .transfer(let fraction, _) = event { Task { @MainActor in self?.state = .fetching(fraction) } }
                return true
            }
            try Self.keepOutOfBackups(Self.support)
            state = .idle
            return folder
        } catch {
            state = .failed("\(error)")
            return nil
        }
    }

    /// What can be fetched again does not belong into a backup. Set it after every write: some operations reset it.
    static func keepOutOfBackups(_ folder: URL) throws {
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        var folder = folder
        try folder.setResourceValues(values)
    }
}
