//! Symmetric positive systems of a few dozen unknowns. Owns the arithmetic; must not know what the numbers mean.

/// The inverse of a symmetric positive definite matrix, by Cholesky's decomposition; `None` where it is not one.
pub(super) fn inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            if i == j {
                let square = matrix[i][i] - sum;
                if !(square > 0.0 && square.is_finite()) {
                    return None;
                }
                lower[i][i] = square.sqrt();
            } else {
                lower[i][j] = (matrix[i][j] - sum) / lower[j][j];
            }
        }
    }
    let columns: Vec<Vec<f64>> = (0..n).map(|column| solve(&lower, column)).collect();
    Some((0..n).map(|row| (0..n).map(|column| columns[column][row]).collect()).collect())
}

/// Column `unit` of the inverse of `lower · lowerᵀ`.
fn solve(lower: &[Vec<f64>], unit: usize) -> Vec<f64> {
    let n = lower.len();
    let mut x = vec![0.0; n];
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| lower[i][k] * x[k]).sum();
        x[i] = (f64::from(u8::from(i == unit)) - sum) / lower[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[i][i];
    }
    x
}

/// `matrix · vector`.
pub(super) fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -0.2], vec![0.5, -0.2, 2.0]];
        let inverse = inverse(&matrix).expect("positive definite");
        for (i, row) in matrix.iter().enumerate() {
            let column = |j: usize| inverse.iter().map(move |row| row[j]);
            let products = (0..3).map(|j| row.iter().zip(column(j)).map(|(a, b)| a * b).sum::<f64>());
            for (j, product) in products.enumerate() {
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12, "{i} {j} {product}");
            }
        }
        assert!(super::inverse(&[vec![1.0, 2.0], vec![2.0, 1.0]]).is_none());
    }
}
