//! The layouts of codes and scales, one by one, checked against each other's shapes.
//! Knows what each library writes; must not decide which of them a tensor is.

use super::super::coded::{Coded, Codes, ScaleKind, Scales, StoredZeros, Zeros};
use super::super::stored::Encoding;
use super::*;

/// Strides and groups of scales, before their place is known.
struct Grid {
    group: [u64; 2],
    strides: [u64; 3],
    n: u64,
}

impl Store<'_> {
    /// 8-bit floats or integers with a scale per block, per row or for all.
    pub(super) fn scaled(&self, shard: usize, info: &TensorInfo) -> Result<Found> {
        let codes = match info.dtype {
            Dtype::F8_E5M2 => Codes::E5M2,
            Dtype::I8 => Codes::I8,
            _ => Codes::E4M3,
        };
        let scale = self.scale_of(&info.name).expect("whoever calls has looked");
        let (matrices, shape) = self.matrices(shard, info)?;
        let grid = self.grid(scale, matrices, shape)?;
        let scales = self.scales(scale, self.scale_kind(scale)?, grid)?;
        let coded = self.coded(codes, shard, info, shape, scales);
        let parts = vec![info.name.clone(), scale.1.name.clone()];
        self.found(info.name.clone(), (matrices, coded), parts, (codes == Codes::I8).then_some(8))
    }

    /// Tensors of compressed-tensors: packed integers, or 4-bit floats.
    pub(super) fn packed(&self, shard: usize, info: &TensorInfo) -> Result<Found> {
        let name = info.name.strip_suffix("_packed").expect("whoever calls has looked").to_string();
        if info.dtype == Dtype::U8 {
            return self.fp4(shard, info, &name);
        }
        let shape_name = format!("{name}_shape");
        let stated = self.need(shard, &info.name, &shape_name)?;
        let shape = self.two_numbers(stated)?;
        let (_, [_, words]) = self.matrices(shard, info)?;
        let bits = [2, 4, 8].into_iter().find(|bits| shape[1].div_ceil(u64::from(32 / bits)) == words);
        let bits = bits.ok_or_else(|| {
            let problem =
                format!("expected {} integers of 2, 4 or 8 bits in each row's {words} words", shape[1]);
            self.refuse(shard, &info.name, problem)
        })?;
        let scale = self.need(shard, &info.name, &format!("{name}_scale"))?;
        let grid = self.grid(scale, 1, shape)?;
        let n_groups = shape[1].div_ceil(grid.group[1]);
        let mut parts = vec![info.name.clone(), shape_name, scale.1.name.clone()];
        let mut zeros = Zeros::Constant((1u32 << (bits - 1)) as f32);
        if let Some(stored) = self.get(&format!("{name}_zero_point")) {
            let per_word = u64::from(32 / bits);
            self.expect_bytes(stored, shape[0].div_ceil(per_word) * n_groups * 4)?;
            let (strides, offset) = ([n_groups, 1], 0.0);
            zeros = Zeros::Stored(StoredZeros {
                part: self.part(stored),
                bits,
                strides,
                is_interleaved: false,
                offset,
            });
            parts.push(stored.1.name.clone());
        }
        let mut scales = self.scales(scale, self.scale_kind(scale)?, grid)?;
        if let Some(listed) = self.get(&format!("{name}_g_idx")) {
            self.expect_bytes(listed, shape[1] * 4)?;
            scales.listed = Some(self.listed(listed, n_groups)?);
            parts.push(listed.1.name.clone());
        }
        let coded = Coded { zeros, ..self.coded(Codes::AlongRows { bits }, shard, info, shape, scales) };
        self.found(name, (1, coded), parts, Some(bits))
    }

    /// 4-bit floats with a scale per group: MXFP4, or NVFP4 with one more for all.
    pub(super) fn fp4(&self, shard: usize, info: &TensorInfo, name: &str) -> Result<Found> {
        let (matrices, [rows, bytes]) = self.matrices(shard, info)?;
        let shape = [rows, bytes * 2];
        let scale = self.need(shard, &info.name, &format!("{name}_scale"))?;
        let kind = match scale.1.dtype {
            Dtype::F8_E4M3 => ScaleKind::E4M3,
            Dtype::U8 | Dtype::F8_E8M0 => ScaleKind::PowerOfTwo,
            other => {
                let problem = format!("dtype: expected 8-bit scales of 4-bit floats, got {}", other.name());
                return Err(self.refuse(scale.0, &scale.1.name, problem));
            }
        };
        let mut parts = vec![info.name.clone(), scale.1.name.clone()];
        let mut factor = 1.0;
        for (end, is_reciprocal) in [("_scale_2", false), ("_global_scale", true)] {
            if let Some(whole) = self.get(&format!("{name}{end}")) {
                let value = self.one_number(whole)?;
                factor = if is_reciprocal { 1.0 / value } else { value };
                parts.push(whole.1.name.clone());
            }
        }
        let scales = self.scales(scale, kind, self.grid(scale, matrices, shape)?)?;
        let coded = Coded { factor, ..self.coded(Codes::E2M1, shard, info, shape, scales) };
        self.found(name.into(), (matrices, coded), parts, None)
    }

    /// gpt-oss's experts: 4-bit floats in blocks of 32 along the rows of transposed matrices.
    pub(super) fn blocks(&self, shard: usize, info: &TensorInfo) -> Result<Found> {
        let name = info.name.strip_suffix("_blocks").expect("whoever calls has looked");
        let scale = self.need(shard, &info.name, &format!("{name}_scales"))?;
        let (matrices, rows, groups) = match info.shape.as_slice() {
            [matrices, rows, groups, 16] if !info.shape.contains(&0) => (*matrices, *rows, *groups),
            shape => {
                let problem = format!("shape: expected experts, rows, groups and 16 bytes, got {shape:?}");
                return Err(self.refuse(shard, &info.name, problem));
            }
        };
        let shape = [rows, groups * 32];
        let grid = Grid { group: [1, 32], strides: [rows * groups, groups, 1], n: matrices * rows * groups };
        let scales = self.scales(scale, ScaleKind::PowerOfTwo, grid)?;
        let coded = Coded { is_transposed: true, ..self.coded(Codes::E2M1, shard, info, shape, scales) };
        let parts = vec![info.name.clone(), scale.1.name.clone()];
        self.found(name.into(), (matrices, coded), parts, None)
    }

    /// GPTQ's and AWQ's integers, by which dimension is packed.
    pub(super) fn words(&self, shard: usize, info: &TensorInfo) -> Result<Found> {
        let base = info.name.strip_suffix(".qweight").expect("whoever calls has looked");
        let scale = self.need(shard, &info.name, &format!("{base}.scales"))?;
        let zero = self.need(shard, &info.name, &format!("{base}.qzeros"))?;
        let (_, [down, across]) = self.matrices(shard, info)?;
        let (_, [groups, rows]) = self.matrices(scale.0, &scale.1)?;
        let (_, [_, zero_words]) = self.matrices(zero.0, &zero.1)?;
        let mut parts = vec![info.name.clone(), scale.1.name.clone(), zero.1.name.clone()];
        let is_awq = across != rows;
        let bits = [2, 4, 8].into_iter().find(|bits| zero_words * u64::from(32 / bits) == rows);
        let bits = bits.filter(|&bits| !is_awq || (bits == 4 && across * 8 == rows)).ok_or_else(|| {
            let problem = format!(
                "expected integers of 2, 4 or 8 bits, got {across} and {zero_words} words for {rows} rows"
            );
            self.refuse(shard, &info.name, problem)
        })?;
        let per_word = u64::from(32 / bits);
        let columns = if is_awq { down } else { down * per_word };
        self.expect_bytes(zero, groups * zero_words * 4)?;
        let width = columns.div_ceil(groups);
        let grid = Grid { group: [1, width], strides: [0, 1, rows], n: groups * rows };
        let mut scales = self.scales(scale, self.scale_kind(scale)?, grid)?;
        if let Some(listed) = self.get(&format!("{base}.g_idx")) {
            self.expect_bytes(listed, columns * 4)?;
            scales.listed = Some(self.listed(listed, groups)?);
            parts.push(listed.1.name.clone());
        }
        // The first version of GPTQ's format stores zeros less one.
        let is_second = self.native.is_some_and(|native| native.format.as_deref() == Some("gptq_v2"));
        let offset = if is_awq || is_second { 0.0 } else { 1.0 };
        let strides = [1, zero_words];
        let zeros = StoredZeros { part: self.part(zero), bits, strides, is_interleaved: is_awq, offset };
        let codes = if is_awq { Codes::AcrossRows } else { Codes::AlongColumns { bits } };
        let coded = self.coded(codes, shard, info, [rows, columns], scales);
        self.found(
            format!("{base}.weight"),
            (1, Coded { zeros: Zeros::Stored(zeros), ..coded }),
            parts,
            Some(bits),
        )
    }

    fn coded(&self, codes: Codes, shard: usize, info: &TensorInfo, shape: [u64; 2], scales: Scales) -> Coded {
        let part = Part { shard, range: info.range.clone() };
        Coded { codes, part, shape, is_transposed: false, scales, zeros: Zeros::Constant(0.0), factor: 1.0 }
    }

    fn found(
        &self,
        name: String,
        (matrices, coded): (u64, Coded),
        parts: Vec<String>,
        lost: Option<u32>,
    ) -> Result<Found> {
        let expected = coded.codes.bytes(matrices, coded.shape);
        if expected != Some(coded.part.len()) {
            let problem = format!(
                "expected the codes of {matrices} × {:?} weights, got {} bytes",
                coded.shape,
                coded.part.len()
            );
            return Err(self.refuse(coded.part.shard, &parts[0], problem));
        }
        let [rows, columns] = coded.shape;
        let own = if coded.is_transposed { [columns, rows] } else { [rows, columns] };
        let shape =
            (matrices > 1 || coded.is_transposed).then_some(matrices).into_iter().chain(own).collect();
        let tensor =
            StoredTensor { name, shape, encoding: Encoding::Coded(Box::new(coded)), additions: Vec::new() };
        Ok(Found { tensor, parts, lost })
    }

    /// How the scales in `scale` lie over `matrices` of `shape`: one for all, one per matrix, per row, or per block.
    fn grid(&self, scale: &(usize, TensorInfo), matrices: u64, shape: [u64; 2]) -> Result<Grid> {
        let [rows, columns] = shape;
        let stored = scale.1.shape.as_slice();
        let n = stored.iter().product::<u64>();
        let per_matrix = |of_rows: u64, of_columns: u64| {
            let block = self.native.and_then(|native| native.block);
            let stated =
                block.filter(|[r, c]| rows.div_ceil(*r) == of_rows && columns.div_ceil(*c) == of_columns);
            let even = [rows, columns].iter().zip([of_rows, of_columns]).all(|(n, of)| n.is_multiple_of(of));
            let even = || even.then(|| [rows / of_rows, columns / of_columns]);
            let strides = [of_rows * of_columns, of_columns, 1];
            stated.or_else(even).map(|group| Grid { group, strides, n: matrices * of_rows * of_columns })
        };
        let found = match stored {
            _ if n == 0 => None,
            _ if n == 1 => Some(Grid { group: [rows, columns], strides: [0; 3], n }),
            [of_rows] if matrices == 1 => per_matrix(*of_rows, 1),
            [of_matrices] if *of_matrices == matrices => per_matrix(1, 1),
            [outer @ .., of_rows, of_columns] if outer.iter().product::<u64>() == matrices => {
                per_matrix(*of_rows, *of_columns)
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let problem = format!("shape: expected scales of {matrices} × {shape:?} weights, got {stored:?}");
            self.refuse(scale.0, &scale.1.name, problem)
        })
    }

    fn scales(&self, scale: &(usize, TensorInfo), kind: ScaleKind, grid: Grid) -> Result<Scales> {
        self.expect_bytes(scale, grid.n * kind.bytes())?;
        let part = self.part(scale);
        Ok(Scales { kind, part, group: grid.group, strides: grid.strides, listed: None })
    }

    fn scale_kind(&self, (shard, info): &(usize, TensorInfo)) -> Result<ScaleKind> {
        match (Float::of(info.dtype), info.dtype) {
            (Some(float), _) => Ok(ScaleKind::Float(float)),
            (None, Dtype::U8 | Dtype::F8_E8M0) => Ok(ScaleKind::PowerOfTwo),
            (None, other) => {
                Err(self.refuse(*shard, &info.name, format!("dtype: expected floats, got {}", other.name())))
            }
        }
    }

    fn need(&self, shard: usize, codes: &str, name: &str) -> Result<&(usize, TensorInfo)> {
        self.get(name)
            .ok_or_else(|| self.refuse(shard, codes, format!("expected `{name}` beside it, found none")))
    }

    fn expect_bytes(&self, (shard, info): &(usize, TensorInfo), expected: u64) -> Result<()> {
        let got = info.range.end - info.range.start;
        if got == expected {
            return Ok(());
        }
        Err(self.refuse(
            *shard,
            &info.name,
            format!("expected {expected} bytes of {:?}, got {got}", info.shape),
        ))
    }

    /// The groups of columns, checked to be below `groups`.
    fn listed(&self, stored: &(usize, TensorInfo), groups: u64) -> Result<Part> {
        let part = self.part(stored);
        let words = part.bytes(self.shards).as_chunks::<4>().0;
        match words.iter().find(|word| u64::from(u32::from_le_bytes(**word)) >= groups) {
            None => Ok(part),
            Some(word) => {
                let problem = format!("expected groups below {groups}, got {}", i32::from_le_bytes(*word));
                Err(self.refuse(stored.0, &stored.1.name, problem))
            }
        }
    }

    fn one_number(&self, stored: &(usize, TensorInfo)) -> Result<f32> {
        let (shard, info) = stored;
        let float = Float::of(info.dtype).filter(|_| info.shape.iter().product::<u64>() == 1);
        let float = float.ok_or_else(|| {
            let problem = format!("expected one float, got {:?} of {}", info.shape, info.dtype.name());
            self.refuse(*shard, &info.name, problem)
        })?;
        let mut value = [0.0];
        float.widen(self.part(stored).bytes(self.shards), &mut value);
        Ok(value[0])
    }

    /// Rows and columns that a stored shape states.
    fn two_numbers(&self, stored: &(usize, TensorInfo)) -> Result<[u64; 2]> {
        let bytes = self.part(stored).bytes(self.shards);
        let numbers: Vec<u64> = match stored.1.dtype {
            Dtype::I64 => bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            Dtype::I32 => {
                bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word).into()).collect()
            }
            _ => Vec::new(),
        };
        match numbers.as_slice() {
            [rows, columns] if (1..1 << 32).contains(rows) && (1..1 << 32).contains(columns) => {
                Ok([*rows, *columns])
            }
            other => {
                let problem = format!("expected two extents above 0, got {other:?}");
                Err(self.refuse(stored.0, &stored.1.name, problem))
            }
        }
    }
}
