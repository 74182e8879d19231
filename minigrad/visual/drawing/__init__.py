"""Diagrams: nested boxes and the lines between them, laid out and written as SVG or Mermaid text."""

from minigrad.visual.drawing.diagram import Diagram
from minigrad.visual.drawing.parts import Cluster, Node, times

__all__ = ["Cluster", "Diagram", "Node", "times"]
