// Models that come inside the app.
package io.github.llamapajamas.android

import android.content.Context
import java.io.File
import java.io.IOException

/**
 * Copies the asset [name] to [destination], unless a file of the same size lies there, and returns it. A model has to be a file of its
 * own to be mapped. Until the copy is whole there is no file of that name. Blocks. Works for files of install-time asset packs too.
 */
fun copyAsset(context: Context, name: String, destination: File): File {
    // Known where the asset is not compressed (`androidResources { noCompress += "gguf" }`).
    val size = try { context.assets.openFd(name).use { it.length } } catch (compressed: IOException) { -1L }
    if (destination.exists() && (size < 0 || destination.length() == size)) return destination
    destination.parentFile?.mkdirs()
    val part = File(destination.path + ".part")
    context.assets.open(name).use { from -> part.outputStream().use { to -> from.copyTo(to, 1 shl 20); to.fd.sync() } }
    if (!part.renameTo(destination)) throw IOException("$part: could not become $destination")
    return destination
}
