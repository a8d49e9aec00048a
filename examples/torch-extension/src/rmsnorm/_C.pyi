torch_version: str
cuda_version: int
