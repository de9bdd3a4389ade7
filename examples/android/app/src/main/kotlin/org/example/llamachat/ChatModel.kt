// Keeps the conversation over turns of the screen, and brings the model, the device's signals and the conversation together.
package org.example.llamachat

import android.app.Application
import androidx.lifecycle.AndroidViewModel
import androidx.lifecycle.viewModelScope
import io.github.llamapajamas.android.AndroidDevice
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch

class ChatModel(application: Application) : AndroidViewModel(application) {
    val chat = Chat(viewModelScope)
    /** How much of the model is fetched; null where nothing is fetched. */
    val fetched = MutableStateFlow<Double?>(null)
    private val device = AndroidDevice(application)

    init {
        viewModelScope.launch {
            val models = ModelStore(getApplication())
            if (models.here() == null) {
                models.fetch()
                models.progress().first { work ->
                    fetched.value = work.progress.getDouble(FetchModel.FRACTION, 0.0)
                    work.state.isFinished
                }
                fetched.value = null
            }
            val path = models.here() ?: return@launch
            chat.open(path, models.measured.path)
            chat.loaded()?.let(device::follow) // heat, memory, battery and saver, from now on
        }
    }

    fun leave() = viewModelScope.launch { chat.leave() }

    override fun onCleared() {
        device.close()
        chat.close()
    }
}
