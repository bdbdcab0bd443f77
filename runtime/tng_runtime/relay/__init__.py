"""Application bytes between an attested stream and a plaintext socket."""
