// The only screen.
package org.example.llamachat

import android.os.Bundle
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.activity.viewModels
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.items
import androidx.compose.material3.Button
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.unit.dp
import androidx.lifecycle.compose.collectAsStateWithLifecycle

class MainActivity : ComponentActivity() {
    private val model: ChatModel by viewModels()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        enableEdgeToEdge()
        setContent { MaterialTheme { ChatScreen(model) } }
    }

    override fun onStart() {
        super.onStart()
        model.chat.comeBack()
    }

    override fun onStop() {
        super.onStop()
        model.leave()
    }
}

@Composable
private fun ChatScreen(model: ChatModel) {
    val lines by model.chat.lines.collectAsStateWithLifecycle()
    val state by model.chat.state.collectAsStateWithLifecycle()
    val fetched by model.fetched.collectAsStateWithLifecycle()
    Column(Modifier.fillMaxSize().safeDrawingPadding().padding(16.dp)) {
        LazyColumn(Modifier.weight(1f), reverseLayout = true, verticalArrangement = Arrangement.spacedBy(8.dp)) {
            items(lines.asReversed()) { line ->
                Text(
                    text = (if (line.isMine) "You: " else "") + line.text.ifEmpty { "…" },
                    color = if (line.isMine) MaterialTheme.colorScheme.primary else MaterialTheme.colorScheme.onSurface,
                )
            }
        }
        when (val now = state) {
            is State.Closed -> Waiting("Fetching the model", fetched)
            is State.Loading -> Waiting("Loading the model", now.fraction)
            is State.Failed -> Text(now.reason, color = MaterialTheme.colorScheme.error)
            else -> Question(isAnswering = now is State.Answering, send = model.chat::send, stop = { model.chat.stop() })
        }
    }
}

@Composable
private fun Waiting(what: String, fraction: Double?) {
    Text(what)
    if (fraction == null) LinearProgressIndicator(Modifier.fillMaxWidth())
    else LinearProgressIndicator(progress = { fraction.toFloat() }, modifier = Modifier.fillMaxWidth())
}

@Composable
private fun Question(isAnswering: Boolean, send: (String) -> Unit, stop: () -> Unit) {
    var text by rememberSaveable { mutableStateOf("") }
    Row(verticalAlignment = Alignment.CenterVertically, horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        OutlinedTextField(text, { text = it }, Modifier.weight(1f), placeholder = { Text("Message") })
        if (isAnswering) Button(onClick = stop) { Text("Stop") }
        else Button(onClick = { send(text); text = "" }, enabled = text.isNotBlank()) { Text("Send") }
    }
}
