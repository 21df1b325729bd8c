//! stand-in
pub fn empty() -> Vec<u8> {
    b"NATS/1.0\r\n\r\n".to_vec()
}
pub fn without(block: &[u8], _: &str) -> Vec<u8> {
    block.to_vec()
}
pub fn append(block: &mut Vec<u8>, key: &str, value: &[u8]) {
    block.truncate(block.len() - 2);
    block.extend_from_slice(format!("{key}: ").as_bytes());
    block.extend_from_slice(value);
    block.extend_from_slice(b"\r\n\r\n");
}
