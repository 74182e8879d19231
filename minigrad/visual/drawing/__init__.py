"""Diagrams: nested boxes and the lines between them, laid out and written as SVG or Mermaid text."""

from minigrad.visual.drawing.diagram import Cluster, Diagram, Node, times

__all__ = ["Cluster", "Diagram", "Node", "times"]
