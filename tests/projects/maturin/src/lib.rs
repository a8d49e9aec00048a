use pyo3::{exceptions::PyValueError, prelude::*};
#[pyfunction]
fn half(n: u64) -> PyResult<u64> {
    if n % 2 == 1 { Err(PyValueError::new_err("odd")) } else { Ok(n / 2) }
}
#[pymodule]
fn native(_py: Python<'_>, m: &PyModule) -> PyResult<()> {
    m.add("arch", std::env::consts::ARCH)?;
    m.add_function(wrap_pyfunction!(half, m)?)
}
