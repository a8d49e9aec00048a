use std::os::raw::{c_char, c_int, c_void};
type Object = *mut c_void;
type Function = extern "C" fn(Object, Object) -> Object;
#[repr(C)]
pub struct Method(*const c_char, Option<Function>, c_int, *const c_char);
#[repr(C)]
pub struct Module([usize; 5], *const c_char, *const c_char, isize, *mut Method, [usize; 4]);
extern "C" {
    fn PyModule_Create2(module: *mut Module, version: c_int) -> Object;
    fn PyLong_FromLong(value: i64) -> Object;
}
extern "C" fn answer(_: Object, _: Object) -> Object {
    unsafe { PyLong_FromLong((1..=6).map(|x| x * 2).sum()) }
}
macro_rules! text { ($text:literal) => { concat!($text, "\0").as_ptr() as *const c_char } }
#[no_mangle]
pub extern "C" fn PyInit_rusty() -> Object {
    let none = Method(std::ptr::null(), None, 0, std::ptr::null());
    let methods = vec![Method(text!("answer"), Some(answer), 4, text!("")), none];
    let methods = Box::leak(methods.into_boxed_slice()).as_mut_ptr();
    let head = [1, 0, 0, 0, 0];
    let module = Module(head, text!("rusty"), text!(""), -1, methods, [0; 4]);
    unsafe { PyModule_Create2(Box::leak(Box::new(module)), 1013) }
}
