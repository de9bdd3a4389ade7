//! What a number goes through between two matrices, by the name that configurations have for it. Knows operators; no model.

use super::graph::Graph;
use crate::Error;
use formats::onnx::attribute;

/// What an activation, as configurations call it, makes of `x`.
pub(super) fn activate(graph: &mut Graph, activation: &str, x: &str, name: &str) -> Result<String, Error> {
    let of = |part: &str| format!("{name}/{part}");
    Ok(match activation {
        "relu" => graph.plain("Relu", &[x], name),
        "gelu" if graph.opset >= 20 => graph.plain("Gelu", &[x], name),
        "gelu_pytorch_tanh" | "gelu_new" if graph.opset >= 20 => {
            graph.add("Gelu", &[x], name, vec![attribute::text("approximate", "tanh")])
        }
        "gelu" => {
            let (root, one, half) =
                (graph.number(std::f32::consts::SQRT_2)?, graph.number(1.0)?, graph.number(0.5)?);
            let divided = graph.plain("Div", &[x, &root], &of("divided"));
            let bent = graph.plain("Erf", &[&divided], &of("bent"));
            let raised = graph.plain("Add", &[&bent, &one], &of("raised"));
            let gated = graph.plain("Mul", &[x, &raised], &of("gated"));
            graph.plain("Mul", &[&gated, &half], name)
        }
        "quick_gelu" => {
            let steep = graph.number(1.702)?;
            let scaled = graph.plain("Mul", &[x, &steep], &of("scaled"));
            let gate = graph.plain("Sigmoid", &[&scaled], &of("gate"));
            graph.plain("Mul", &[x, &gate], name)
        }
        other => {
            return Err(Error::Setting {
                field: "config.json: activation",
                expected: "gelu, quick_gelu, relu, or with operators of version 20 gelu_pytorch_tanh".into(),
                got: format!("`{other}`"),
            });
        }
    })
}
