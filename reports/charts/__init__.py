"""Charts as inline SVG: pure functions of figures. Colours are attributes, so that no CSS is needed."""
