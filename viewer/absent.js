// Stands in for the decoders of Zarr chunks, 1.3 MB that no NIfTI needs.
export default null;
