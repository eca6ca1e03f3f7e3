"""Readers: one function per family of formats, files in, labelled data out."""
