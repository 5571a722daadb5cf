// What the report's viewer uses of NiiVue.
export { DRAG_MODE, NVImage, Niivue, SLICE_TYPE } from "@niivue/niivue";
