//! What flows into weights while a model computes.
//!
//! Owns: [`Watch`] and [`Product`], what an engine shows of each product with a weight. May know: nothing else. Must not
//! know: what is made of it.

/// One product of a weight with the activations that reach it.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// The weight's name in the model's file.
    pub weight: &'a str,
    /// Length of a row: columns of the weight.
    pub n_columns: usize,
    /// Matrices of the weight: 1, or as many as a stack (of experts, of heads) has.
    pub n_matrices: usize,
    /// Rows of activations, one after the other, token after token.
    pub rows: &'a [f32],
    /// Which matrices each row is multiplied by: [`Product::matrices_per_row`] entries for each row, all of them below
    /// `n_matrices`.
    pub matrices: &'a [u32],
}

impl<'a> Product<'a> {
    /// Rows of activations there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.len() / self.n_columns.max(1)
    }

    /// How many matrices multiply a row: more than 1 where several experts read the same.
    #[must_use]
    pub fn matrices_per_row(&self) -> usize {
        self.matrices.len() / self.n_rows().max(1)
    }

    /// Each row with the matrices that multiply it.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [f32], &'a [u32])> {
        let matrices = self.matrices.chunks_exact(self.matrices_per_row().max(1));
        self.rows.chunks_exact(self.n_columns.max(1)).zip(matrices)
    }
}

/// Sees the products of a context that was opened for it. It is called on the thread that computes the graph, between
/// operations: what it does takes its time from the computation.
pub trait Watch: Send {
    /// Whether products with this weight are to be shown. Asked before each of them: those that nobody wants cost nothing.
    fn wants(&mut self, weight: &str) -> bool;

    /// One product that was wanted, after it was computed.
    fn saw(&mut self, product: &Product<'_>);
}
