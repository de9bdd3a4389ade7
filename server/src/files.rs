//! Pictures and sound in messages.
//!
//! Owns how requests carry their bytes: data URIs and base64. Must not know what is made of them, nor fetch anything.

use crate::error::{ApiError, ApiResult};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Most files of a request.
const MAX_FILES: usize = 64;

/// The files of all messages, in their order. Parts that are neither text nor a file are refused.
pub(crate) fn of_messages(messages: &[Value]) -> ApiResult<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let parts = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (at, part) in parts.iter().enumerate().filter(|(_, part)| !part["text"].is_string()) {
            files.push(of_part(part, &format!("messages[{index}].content[{at}]"))?);
        }
    }
    if files.len() > MAX_FILES {
        let expected = format!("at most {MAX_FILES} pictures and sounds");
        return Err(ApiError::field("messages", expected, files.len().to_string()));
    }
    Ok(files)
}

fn of_part(part: &Value, field: &str) -> ApiResult<Vec<u8>> {
    let kind = part["type"].as_str().unwrap_or("something else");
    match kind {
        "image_url" => {
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str()).unwrap_or_default();
            let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
            let Some((_, data)) = data else {
                let got: String = url.chars().take(40).collect();
                let expected = "a data URI in base64 (nothing is fetched)";
                return Err(ApiError::field(format!("{field}.image_url.url"), expected, got));
            };
            bytes(data, &format!("{field}.image_url.url"))
        }
        "input_audio" => {
            let data = part["input_audio"]["data"].as_str().unwrap_or_default();
            bytes(data, &format!("{field}.input_audio.data"))
        }
        other => Err(ApiError::field(field, "a part of text, image_url or input_audio", other)),
    }
}

fn bytes(data: &str, field: &str) -> ApiResult<Vec<u8>> {
    let bytes = STANDARD.decode(data).ok().filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| ApiError::field(field, "base64", data.chars().take(20).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files(content: Value) -> Result<Vec<Vec<u8>>, String> {
        of_messages(&[json!({ "role": "user", "content": content })]).map_err(|error| error.message)
    }

    #[test]
    fn files_come_in_their_order() {
        let url = |data: &str| json!({ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{data}") } });
        let text = json!({ "type": "text", "text": "and" });
        let sound = json!({ "type": "input_audio", "input_audio": { "data": "Yw==", "format": "wav" } });
        let got = files(json!([url("YQ=="), text, url("Yg=="), sound]));
        assert_eq!(got, Ok(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]));
        assert_eq!(files(json!("a text")), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_file_is_refused_by_its_place() {
        for (part, said) in [
            (
                json!({ "type": "image_url", "image_url": {} }),
                "content[0].image_url.url: expected a data URI",
            ),
            (
                json!({ "type": "image_url", "image_url": { "url": "https://x/y.png" } }),
                "got https://x/y.png",
            ),
            (
                json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,!" } }),
                "expected base64, got !",
            ),
            (json!({ "type": "video" }), "expected a part of text, image_url or input_audio, got video"),
        ] {
            let error = files(json!([part])).expect_err("refused");
            assert!(error.contains(said), "{error}");
        }
    }
}
