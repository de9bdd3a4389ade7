// Where the model comes from: an asset pack or the app's own assets, or a download that goes on without the app.
package org.example.llamachat

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.content.Context
import android.content.pm.ServiceInfo
import android.os.Build
import androidx.work.Constraints
import androidx.work.CoroutineWorker
import androidx.work.ExistingWorkPolicy
import androidx.work.ForegroundInfo
import androidx.work.NetworkType
import androidx.work.OneTimeWorkRequestBuilder
import androidx.work.WorkInfo
import androidx.work.WorkManager
import androidx.work.WorkerParameters
import androidx.work.workDataOf
import io.github.llamapajamas.Event
import io.github.llamapajamas.LlamaPajamasException
import io.github.llamapajamas.android.copyAsset
import io.github.llamapajamas.pullAsync
import java.io.File
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.mapNotNull
import kotlinx.coroutines.withContext

class ModelStore(private val context: Context) {
    /** Never in backups, never emptied by the system. */
    private val folder = File(context.noBackupFilesDir, "models")
    private val bundle = File(folder, "chat")
    val measured = File(folder, "measured")

    /** The model's place on this device; null where it has to be fetched. */
    suspend fun here(): String? = withContext(Dispatchers.IO) {
        when {
            File(bundle, "manifest.json").exists() -> bundle.path
            // An install-time asset pack's files are assets like the app's own. A model has to be a file to be mapped: it is copied once.
            "chat.gguf" in context.assets.list("").orEmpty() -> copyAsset(context, "chat.gguf", File(folder, "chat.gguf")).path
            else -> null
        }
    }

    /** Begins to fetch, or goes on: over a network that costs nothing, also when the app is left. */
    fun fetch() {
        val wanted = OneTimeWorkRequestBuilder<FetchModel>()
            .setConstraints(Constraints.Builder().setRequiredNetworkType(NetworkType.UNMETERED).setRequiresStorageNotLow(true).build())
            .setInputData(workDataOf(FetchModel.FOLDER to bundle.path))
            .build()
        WorkManager.getInstance(context).enqueueUniqueWork("model", ExistingWorkPolicy.KEEP, wanted)
    }

    fun progress(): Flow<WorkInfo> =
        WorkManager.getInstance(context).getWorkInfosForUniqueWorkFlow("model").mapNotNull { it.firstOrNull() }
}

/** Fetches the bundle. What was broken off is gone on with, and until every hash is right there is no bundle. */
class FetchModel(context: Context, parameters: WorkerParameters) : CoroutineWorker(context, parameters) {
    override suspend fun doWork(): Result {
        setForeground(getForegroundInfo())
        val folder = inputData.getString(FOLDER) ?: return Result.failure()
        return try {
            File(folder).parentFile?.mkdirs()
            pullAsync(MANIFEST, folder) { event ->
                if (event is Event.Transfer) setProgressAsync(workDataOf(FRACTION to event.fraction))
                true
            }
            Result.success()
        } catch (failed: LlamaPajamasException.Failed) {
            Result.retry()
        }
    }

    override suspend fun getForegroundInfo(): ForegroundInfo {
        val manager = requireNotNull(applicationContext.getSystemService(NotificationManager::class.java))
        manager.createNotificationChannel(NotificationChannel(CHANNEL, "Model", NotificationManager.IMPORTANCE_LOW))
        val shown = Notification.Builder(applicationContext, CHANNEL)
            .setSmallIcon(android.R.drawable.stat_sys_download)
            .setContentTitle("Fetching the model")
            .setOngoing(true)
            .build()
        val type = if (Build.VERSION.SDK_INT >= 29) ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC else 0
        return ForegroundInfo(1, shown, type)
    }

    companion object {
        const val FOLDER = "folder"
        const val FRACTION = "fraction"
        const val MANIFEST = "https://models.example.org/chat/manifest.json"
        private const val CHANNEL = "model"
    }
}
