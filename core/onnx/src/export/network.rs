//! A graph of a row of the table: what goes in, layers, what comes out. Knows the row's parts and the configuration; attention
//! is another's, and so is how weights are written.

use super::activation::activate;
use super::attention::{Caches, attend, attend_across, keys_or_values};
use super::checkpoint::Checkpoint;
use super::graph::{Graph, Made};
use super::table::{End, Front, Layer, Row};
use crate::Error;
use formats::onnx::{DataType, attribute};

/// Names of ports.
pub(super) const TOKENS: &str = "input_ids";

/// A row, the checkpoint it is of, and the graph so far.
pub(super) struct Builder<'a> {
    pub(super) row: &'a Row,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) graph: Graph,
    /// Elements of a vector.
    pub(super) width: i64,
    pub(super) heads: i64,
    epsilon: f32,
    activation: String,
    n_layers: i64,
}

/// Builds the graph of a row.
///
/// # Errors
/// A tensor that is missing or of another shape; a configuration that says what is not known.
pub(super) fn build(row: &Row, checkpoint: &Checkpoint, float: DataType, opset: i64) -> Result<Graph, Error> {
    let count = |number| checkpoint.count(&row.config, number);
    let mut builder = Builder {
        row,
        checkpoint,
        graph: Graph::new(float, opset),
        width: count(&row.width)?,
        heads: count(&row.heads)?,
        epsilon: checkpoint.number(&row.config, &row.epsilon)? as f32,
        activation: checkpoint.text(&row.config, &row.activation)?,
        n_layers: count(&row.layers)?,
    };
    if builder.width % builder.heads != 0 {
        return Err(Error::Setting {
            field: "config.json: heads",
            expected: format!("a divisor of {}", builder.width),
            got: builder.heads.to_string(),
        });
    }
    let (mut x, mut caches) = builder.front()?;
    for layer in 0..builder.n_layers {
        x = builder.layer(layer, &x, &mut caches)?;
    }
    if let Some(norm) = &row.norm {
        x = builder.norm(norm, &x, "normed")?;
    }
    // Vectors that come out keep their name from here on.
    let mut ends: Vec<&End> = row.ends.iter().collect();
    ends.sort_by_key(|end| matches!(end, End::Hidden { .. }));
    let before = builder.graph.outputs.len();
    for end in ends {
        builder.end(end, &x)?;
    }
    builder.order_outputs(before);
    Ok(builder.graph)
}

impl Builder<'_> {
    /// A matrix that rows of `inputs` are multiplied by, and its bias where there is one.
    pub(super) fn linear(
        &mut self,
        of: &str,
        (inputs, outputs): (i64, i64),
        x: &str,
        name: &str,
    ) -> Result<String, Error> {
        let (weight, bias) = (format!("{of}.weight"), format!("{of}.bias"));
        self.checkpoint.need(&weight, &[outputs, inputs])?;
        let matrix = self.graph.weight(&weight, Made::Turned, &[inputs, outputs]);
        if self.checkpoint.find(&bias).is_none() {
            return Ok(self.graph.plain("MatMul", &[x, &matrix], name));
        }
        self.checkpoint.need(&bias, &[outputs])?;
        let bias = self.graph.weight(&bias, Made::Same, &[outputs]);
        let product = self.graph.plain("MatMul", &[x, &matrix], &format!("{name}/product"));
        Ok(self.graph.plain("Add", &[&product, &bias], name))
    }

    /// The norm of each vector.
    pub(super) fn norm(&mut self, of: &str, x: &str, name: &str) -> Result<String, Error> {
        let mut parts = Vec::new();
        for part in ["weight", "bias"] {
            let tensor = format!("{of}.{part}");
            self.checkpoint.need(&tensor, &[self.width])?;
            parts.push(self.graph.weight(&tensor, Made::Same, &[self.width]));
        }
        let settings = vec![attribute::int("axis", -1), attribute::float("epsilon", self.epsilon)];
        Ok(self.graph.add("LayerNormalization", &[x, &parts[0], &parts[1]], name, settings))
    }

    /// What goes in as vectors, and what attention is told.
    fn front(&mut self) -> Result<(String, Caches), Error> {
        let (row, width) = (self.row, self.width);
        let count = |number| self.checkpoint.count(&row.config, number);
        match &row.front {
            Front::Pictures { image, patch, channels, projection, class_token, positions, norm } => {
                let (image, patch, channels) = (count(image)?, count(patch)?, count(channels)?);
                let n = (image / patch.min(image)) * (image / patch.min(image));
                let dims = [Err("batch_size"), Ok(channels), Ok(image), Ok(image)];
                let pixels = self.graph.float_input("pixel_values", &dims);
                let settings = vec![
                    attribute::ints("kernel_shape", &[patch; 2]),
                    attribute::ints("strides", &[patch; 2]),
                ];
                let kernel = [width, channels, patch, patch];
                let cut = self.convolution(projection, &kernel, &pixels, settings, "patches")?;
                let flat = self.graph.reshape(&cut, &[0, width, -1], "patches/flat")?;
                let rows = self.graph.transpose(&flat, &[0, 2, 1], "patches/rows");
                // The class token lies in the table of positions, and goes onto a row of zeros.
                let pads = self.graph.integers(&[0, 1, 0, 0, 0, 0])?;
                let rows = self.graph.plain("Pad", &[&rows, &pads], "patches/behind_class");
                self.checkpoint.find(class_token).ok_or_else(|| missing(class_token))?;
                let table = self.positions(positions, n + 1, Made::FirstPlus(class_token.clone()))?;
                let mut x = self.graph.plain("Add", &[&rows, &table], "x0");
                if let Some(norm) = norm {
                    x = self.norm(norm, &x, "x0/normed")?;
                }
                Ok((x, Caches::default()))
            }
            Front::Sound { bins, frames, activation, first, second, positions } => {
                let (bins, frames) = (count(bins)?, count(frames)?);
                let dims = [Err("batch_size"), Ok(bins), Ok(2 * frames)];
                let mut x = self.graph.float_input("input_features", &dims);
                for (of, inputs, stride) in [(first, bins, 1), (second, width, 2)] {
                    let settings = vec![
                        attribute::ints("kernel_shape", &[3]),
                        attribute::ints("pads", &[1, 1]),
                        attribute::ints("strides", &[stride]),
                    ];
                    let name = format!("sound{stride}");
                    let made = self.convolution(of, &[width, inputs, 3], &x, settings, &name)?;
                    x = activate(&mut self.graph, activation, &made, &format!("{name}/active"))?;
                }
                let rows = self.graph.transpose(&x, &[0, 2, 1], "sound/rows");
                let table = self.positions(positions, frames, Made::Same)?;
                Ok((self.graph.plain("Add", &[&rows, &table], "x0"), Caches::default()))
            }
            Front::Tokens { embedding, positions, cached } => {
                let dims = [Err("batch_size"), Err("sequence_length")];
                self.graph.input(TOKENS, DataType::Int64, &dims);
                let find = |name: &String| self.checkpoint.find(name).ok_or_else(|| missing(name));
                let extents = |name| Ok::<_, Error>(find(name)?.shape.first().map_or(0, |&rows| rows as i64));
                let (words, places) = (extents(embedding)?, extents(positions)?);
                self.checkpoint.need(embedding, &[words, width])?;
                let table = self.graph.weight(embedding, Made::Same, &[words, width]);
                let x = self.graph.plain("Gather", &[&table, TOKENS], "words");
                let table = self.positions(positions, places, Made::Same)?;
                let (own, caches) = Caches::of_tokens(self, *cached)?;
                let places = self.graph.plain("Gather", &[&table, &own], "places");
                Ok((self.graph.plain("Add", &[&x, &places], "x0"), caches))
            }
        }
    }

    /// A table of `n` positions; some checkpoints have a first extent of 1 before it.
    fn positions(&mut self, of: &str, n: i64, made: Made) -> Result<String, Error> {
        let info = self.checkpoint.find(of).ok_or_else(|| missing(of))?;
        let stored = if info.shape.len() == 3 { vec![1, n, self.width] } else { vec![n, self.width] };
        self.checkpoint.need(of, &stored)?;
        Ok(self.graph.weight(of, made, &[n, self.width]))
    }

    fn convolution(
        &mut self,
        of: &str,
        kernel: &[i64],
        x: &str,
        settings: Vec<formats::onnx::AttributeProto>,
        name: &str,
    ) -> Result<String, Error> {
        let (weight, bias) = (format!("{of}.weight"), format!("{of}.bias"));
        self.checkpoint.need(&weight, kernel)?;
        let mut inputs = vec![x.to_string(), self.graph.weight(&weight, Made::Same, kernel)];
        if self.checkpoint.find(&bias).is_some() {
            self.checkpoint.need(&bias, &kernel[..1])?;
            inputs.push(self.graph.weight(&bias, Made::Same, &kernel[..1]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.graph.add("Conv", &inputs, name, settings))
    }

    fn layer(&mut self, number: i64, x: &str, caches: &mut Caches) -> Result<String, Error> {
        let Layer { prefix, attention, cross, norm, up, down } = &self.row.layer;
        let prefix = prefix.replace("{}", &number.to_string());
        let of = |part: &str| format!("l{number}/{part}");
        let normed = self.norm(&format!("{prefix}{}", attention.norm), x, &of("normed"))?;
        let seen = attend(self, &prefix, attention, number, &normed, caches, &of("seen"))?;
        let mut x = self.graph.plain("Add", &[x, &seen], &of("and_seen"));
        if let Some(cross) = cross {
            let normed = self.norm(&format!("{prefix}{}", cross.norm), &x, &of("cross/normed"))?;
            let heard = attend_across(self, &prefix, cross, number, &normed, &of("cross"))?;
            x = self.graph.plain("Add", &[&x, &heard], &of("and_cross"));
        }
        let normed = self.norm(&format!("{prefix}{norm}"), &x, &of("middle"))?;
        let up = format!("{prefix}{up}");
        let inner = self.checkpoint.find(&format!("{up}.weight")).ok_or_else(|| missing(&up))?;
        let inner = inner.shape.first().map_or(0, |&rows| rows as i64);
        let wide = self.linear(&up, (self.width, inner), &normed, &of("up"))?;
        let active = activate(&mut self.graph, &self.activation, &wide, &of("active"))?;
        let down = format!("{prefix}{down}");
        let made = self.linear(&down, (inner, self.width), &active, &of("down"))?;
        Ok(self.graph.plain("Add", &[&x, &made], &format!("x{}", number + 1)))
    }

    fn end(&mut self, end: &End, x: &str) -> Result<(), Error> {
        let width = self.width;
        match end {
            End::Hidden { output, unless } => {
                if unless.as_ref().is_some_and(|name| self.checkpoint.find(name).is_some()) {
                    return Ok(());
                }
                let length = match &self.row.front {
                    Front::Tokens { .. } => Err("sequence_length"),
                    _ => Err("encoder_sequence_length"),
                };
                self.graph.float_output(x, output, &[Err("batch_size"), length, Ok(width)]);
            }
            End::First { output, norm, linear, optional } => {
                let weight = format!("{linear}.weight");
                let Some(info) = self.checkpoint.find(&weight) else {
                    return if *optional { Ok(()) } else { Err(missing(&weight)) };
                };
                let n = info.shape.first().map_or(0, |&rows| rows as i64);
                let zero = self.graph.integer(0)?;
                let mut first =
                    self.graph.add("Gather", &[x, &zero], "first", vec![attribute::int("axis", 1)]);
                if let Some(norm) = norm {
                    first = self.norm(norm, &first, "first/normed")?;
                }
                let made = self.linear(linear, (width, n), &first, "first/made")?;
                self.graph.float_output(&made, output, &[Err("batch_size"), Ok(n)]);
            }
            End::Closing { output, linear, end, largest } => {
                let token = self.checkpoint.number(&self.row.config, end)? as i64;
                let scores = if token == *largest {
                    TOKENS.to_string()
                } else {
                    let token = self.graph.integer(token)?;
                    let ends = self.graph.plain("Equal", &[TOKENS, &token], "ends");
                    self.graph.cast(&ends, DataType::Int32, "ends/number")
                };
                let settings = vec![attribute::int("axis", 1), attribute::int("keepdims", 1)];
                let place = self.graph.add("ArgMax", &[&scores], "end", settings);
                let settings = vec![attribute::int("batch_dims", 1)];
                let last = self.graph.add("GatherND", &[x, &place], "last", settings);
                let weight = format!("{linear}.weight");
                let info = self.checkpoint.find(&weight).ok_or_else(|| missing(&weight))?;
                let n = info.shape.first().map_or(0, |&rows| rows as i64);
                let made = self.linear(linear, (width, n), &last, "last/made")?;
                self.graph.float_output(&made, output, &[Err("batch_size"), Ok(n)]);
            }
            End::Vocabulary { output, own, shared } => {
                let of = if self.checkpoint.find(own).is_some() { own } else { shared };
                let info = self.checkpoint.find(of).ok_or_else(|| missing(of))?;
                let words = info.shape.first().map_or(0, |&rows| rows as i64);
                self.checkpoint.need(of, &[words, width])?;
                // The embedding itself, turned while it is loaded: it lies in the file once.
                let table = self.graph.weight(of, Made::Same, &[words, width]);
                let turned = self.graph.transpose(&table, &[1, 0], "vocabulary");
                let made = self.graph.plain("MatMul", &[x, &turned], "made");
                self.graph.float_output(
                    &made,
                    output,
                    &[Err("batch_size"), Err("sequence_length"), Ok(words)],
                );
            }
            End::Caches { layers, heads, prefix, key, value } => {
                let layers = self.checkpoint.count(&self.row.config, layers)?;
                let heads = self.checkpoint.count(&self.row.config, heads)?;
                for layer in 0..layers {
                    let prefix = prefix.replace("{}", &layer.to_string());
                    for (kind, of) in [("key", key), ("value", value)] {
                        let name = format!("present.{layer}.encoder.{kind}");
                        let flat = self.linear(
                            &format!("{prefix}{of}"),
                            (width, width),
                            x,
                            &format!("{name}/flat"),
                        )?;
                        keys_or_values(self, &flat, heads, &name)?;
                        let dims =
                            [Err("batch_size"), Ok(heads), Err("encoder_sequence_length"), Ok(width / heads)];
                        let float = self.graph.float;
                        self.graph.output(&name, float, &dims);
                    }
                }
            }
        }
        Ok(())
    }

    /// Outputs in the order of the row, those of layers behind them.
    fn order_outputs(&mut self, before: usize) {
        let names: Vec<&str> = self.row.ends.iter().filter_map(output_of).collect();
        let place = |name: &str| names.iter().position(|known| *known == name).unwrap_or(names.len());
        let (mut caches, mut own): (Vec<_>, Vec<_>) =
            self.graph.outputs.drain(..).enumerate().partition(|(at, _)| *at < before);
        own.sort_by_key(|(_, output)| place(output.name()));
        own.append(&mut caches);
        self.graph.outputs = own.into_iter().map(|(_, output)| output).collect();
    }
}

fn output_of(end: &End) -> Option<&str> {
    match end {
        End::Hidden { output, .. }
        | End::First { output, .. }
        | End::Closing { output, .. }
        | End::Vocabulary { output, .. } => Some(output),
        End::Caches { .. } => None,
    }
}

/// A tensor that the checkpoint lacks.
pub(super) fn missing(name: &str) -> Error {
    Error::Value { name: name.into(), expected: "it in the checkpoint".into(), got: "none".into() }
}
