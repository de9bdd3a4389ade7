//! The quantization that a checkpoint says it ships in: `quantization_config`, as the libraries that write it spell it.
//! Owns those spellings; must not know how weights are stored.

use crate::config::{Config, wrong};
use crate::{Error, NativeQuantization};
use serde_json::Value;

/// What `config` says; `None` for a checkpoint of floats.
pub(crate) fn of_config(config: &Config<'_>) -> Result<Option<NativeQuantization>, Error> {
    let Some(value) = config.get("quantization_config") else { return Ok(None) };
    let fields = value.as_object().ok_or_else(|| wrong("quantization_config", "an object", value))?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_lowercase);
    let producer = fields.get("producer").and_then(|producer| producer.get("name"));
    let method = text(fields.get("quant_method"))
        .or_else(|| text(producer))
        .or_else(|| text(fields.get("quant_algo")))
        .unwrap_or_else(|| "unknown".into());
    // compressed-tensors and modelopt state widths per group of modules; the first group speaks for all.
    let groups = fields.get("config_groups").and_then(Value::as_object);
    let group = groups.and_then(|groups| groups.values().next()).and_then(|group| group.get("weights"));
    let number = |name: &str, of_group: &str| {
        let stated = fields.get(name).or_else(|| group.and_then(|group| group.get(of_group)));
        stated.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    };
    let block = fields.get("weight_block_size").and_then(Value::as_array);
    let block = block.and_then(|sides| match sides.as_slice() {
        [rows, columns] => Some([rows.as_u64().filter(|&n| n > 0)?, columns.as_u64().filter(|&n| n > 0)?]),
        _ => None,
    });
    Ok(Some(NativeQuantization {
        format: ["format", "checkpoint_format", "quant_algo", "version", "fmt"]
            .iter()
            .find_map(|field| text(fields.get(*field)))
            .filter(|format| *format != method),
        bits: number("bits", "num_bits"),
        group_size: number("group_size", "group_size"),
        block,
        method,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(quantization: Value) -> Option<NativeQuantization> {
        let config = json!({"quantization_config": quantization});
        of_config(&Config::new(&config).expect("an object")).expect("an object")
    }

    #[test]
    fn every_library_s_spelling_is_read() {
        let plain = |method: &str, format: Option<&str>| NativeQuantization {
            method: method.into(),
            format: format.map(str::to_string),
            bits: None,
            group_size: None,
            block: None,
        };
        assert_eq!(read(Value::Null), None);
        let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 64]});
        assert_eq!(
            read(fp8),
            Some(NativeQuantization { block: Some([128, 64]), ..plain("fp8", Some("e4m3")) })
        );
        let gptq =
            json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "gptq_v2"});
        let (bits, group_size) = (Some(4), Some(128));
        assert_eq!(
            read(gptq),
            Some(NativeQuantization { bits, group_size, ..plain("gptq", Some("gptq_v2")) })
        );
        let packed = json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}});
        let expected = plain("compressed-tensors", Some("pack-quantized"));
        assert_eq!(read(packed), Some(NativeQuantization { bits, group_size, ..expected }));
        let modelopt = json!({"quant_algo": "NVFP4", "producer": {"name": "modelopt"}});
        assert_eq!(read(modelopt), Some(plain("modelopt", Some("nvfp4"))));
        assert_eq!(read(json!({"quant_method": "mxfp4"})), Some(plain("mxfp4", None)));
        assert_eq!(read(json!({})), Some(plain("unknown", None)));
    }
}
